// One fact about this machine and its verdict. Structurally the `finding` of an install event, so that
// setup can send it on as it is.

export interface MachineFinding {
  id: string;
  severity: 'ok' | 'info' | 'warn' | 'fail';
  title: string;
  hint?: string;
}
