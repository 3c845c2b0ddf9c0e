// A program that works until it is stopped. Arguments: graceful | stubborn | chatty, attached | detached.
import { once } from 'node:events';
import { watchSignals } from '../../src/cli/signals.js';

const [mode, attached] = process.argv.slice(2);
const interruption = watchSignals(process, attached === 'attached', () => {
  if (mode === 'stubborn') console.log('heard');
});
const { signal } = interruption;
const work = setInterval(() => {
  if (mode === 'chatty') console.log('still at work');
}, 1);
console.log('ready');
if (!signal.aborted) await once(signal, 'abort');
if (mode === 'stubborn') await new Promise(() => undefined);
clearInterval(work);
if (!interruption.readerGone()) console.log(`flushed: ${(signal.reason as Error).message}`);
process.exitCode = interruption.status() ?? 0;
