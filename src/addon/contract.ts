/** Of addon/types.ts and the binary's exports: one number for all that load it, or what one takes another would refuse. */
export const CONTRACT = 9;
