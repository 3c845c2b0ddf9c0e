// Takes the lock named by the first argument, says so, and holds it until it is told or killed.
// With `race` it waits for a line on stdin first, so that many start at once.
import { acquireLock } from '../../../src/base/file-lock.js';

const [path = '', mode = 'hold'] = process.argv.slice(2);
const told = () => new Promise((resolve) => process.stdin.once('data', resolve));

if (mode === 'race') {
  console.log('ready');
  await told();
}
try {
  const lock = await acquireLock(path, { state: () => ({ step: 'pack', layer: 3 }) });
  console.log('held');
  await told();
  await lock.release();
  console.log('released');
} catch (error) {
  console.log((error as { code?: string }).code ?? String(error));
}
process.stdin.destroy();
