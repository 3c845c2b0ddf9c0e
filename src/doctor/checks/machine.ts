import { chipFinding, memoryFinding, nodeFinding } from '../../machine/facts.js';
import type { Check } from '../check.js';

/** Chip and operating system; on a Mac whether Node runs translated by Rosetta. */
export const chip: Check = {
  id: 'machine.chip',
  title: 'processor, operating system, Rosetta',
  timeoutMs: 10_000,
  run: async ({ host, exec }, signal) => [await chipFinding(host, exec, signal)],
};

export const memory: Check = {
  id: 'machine.memory',
  title: 'memory',
  timeoutMs: 1_000,
  run: ({ host }) => Promise.resolve([memoryFinding(host)]),
};

export const node: Check = {
  id: 'machine.node',
  title: 'version of Node',
  timeoutMs: 1_000,
  run: ({ host }) => Promise.resolve([nodeFinding(host)]),
};
