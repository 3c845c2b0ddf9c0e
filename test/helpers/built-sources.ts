// Before the first test: dist/ is as new as src/, for threads and processes start from there.
export { buildCli as setup } from './built-cli.js';
