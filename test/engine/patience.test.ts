// What is computed counts, not what others keep the machine from.

import { readlinkSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { computedMs, Patience } from '../../src/engine/grammar/patience.js';

it('counts computing, and waiting only where that is not told, or where it is much', () => {
  let computed: number | null = 1000;
  const patience = new Patience(5000, 30_000, () => computed);
  expect(patience.next(0)).toBe(5000);
  computed = 2000;
  expect(patience.next(5000)).toBe(4000);
  computed = 2100;
  expect(patience.next(4000)).toBe(3900);
  // After 29 s in all, however little it was.
  expect(patience.next(20_000)).toBe(1000);
  expect(patience.next(1000)).toBe(0);

  const hard = new Patience(5000, 30_000, () => computed);
  computed = 7095;
  expect(hard.next(5000)).toBe(0);

  computed = null;
  const untold = new Patience(5000, 30_000, () => computed);
  expect(untold.next(0)).toBe(5000);
  expect(untold.next(5000)).toBe(0);
});

const isLinux = process.platform === 'linux';
if (!isLinux) console.log('SKIP computing of one thread: only Linux tells it');

it.skipIf(!isLinux)('tells the computing of one thread apart from that of the others', async () => {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const { readlinkSync } = require('node:fs');
     parentPort.postMessage(Number(readlinkSync('/proc/thread-self').split('/').at(-1)));
     parentPort.on('message', () => {
       const before = process.cpuUsage().user;
       while (process.cpuUsage().user - before < 300_000);
       parentPort.postMessage('done');
     });`,
    { eval: true },
  );
  const told = (): Promise<unknown> => new Promise((done) => worker.once('message', done));
  const thread = (await told()) as number;
  const mine = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  const before = [thread, mine].map((each) => computedMs(each) ?? -1);
  const done = told();
  worker.postMessage('go');
  await done;
  const [its = 0, ours = 0] = [thread, mine].map(
    (each, i) => (computedMs(each) ?? -1) - (before[i] ?? 0),
  );
  expect(its).toBeGreaterThan(150);
  expect(ours).toBeLessThan(its);
  expect(computedMs(null)).toBeNull();
  expect(computedMs(1)).toBeNull();
  await worker.terminate();
});
