import { createHash } from 'node:crypto';
import {
  cp,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { homePaths, modelPaths } from '../../src/base/paths.js';
import { openEngine } from '../../src/engine/open-engine.js';
import { recordDamage } from '../../src/store/damage.js';
import type { InstallEvent, StepId } from '../../src/jobs/events.js';
import { readManifest } from '../../src/store/manifest.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { testSettings } from '../helpers/hub/settings.js';
import { only, setUp, type RunResult } from './in-process.js';
import { FIXTURE, hashesBelow, journalLength, questionsFor } from './provisioned.js';

let home: string;
let root: string;
/** A home in which a setup has finished, its result, and the hashes of its files; copied, never changed. */
let finished: { home: string; result: RunResult; hashes: Record<string, string> };

beforeAll(async () => {
  const there = await mkdtemp(join(tmpdir(), 'fm-finished-'));
  const result = await setUp(there);
  finished = { home: there, result, hashes: await hashesBelow(join(there, 'models', 'tiny')) };
});
afterAll(() => rm(finished.home, { recursive: true }));

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'fm-setup-'));
  root = join(home, 'models', 'tiny');
});
afterEach(() => rm(home, { recursive: true }));

const sha256Of = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const alreadyFinished = (): Promise<void> => cp(finished.home, home, { recursive: true });
const paths = () => modelPaths(homePaths(home), 'tiny');
const steps = (events: readonly InstallEvent[]): [StepId, string][] =>
  only(events, 'step')
    .filter(({ status }) => status !== 'started')
    .map(({ step, status }) => [step, status]);
const fetched = (events: readonly InstallEvent[]): string[] =>
  only(events, 'shard').flatMap(({ shard, step, status }) =>
    step === 'fetch' && status === 'done' ? [shard] : [],
  );
const packedLayers = (events: readonly InstallEvent[]): number[] =>
  only(events, 'layer').flatMap(({ layer, status }) => (status === 'done' ? [layer] : []));

describe('a setup', { timeout: 60_000 }, () => {
  it.each(['4bit', '2bit', 'mixed'] as const)(
    'at %s ends with a receipt, exact sizes, and a peak within its promise',
    async (quant) => {
      const { events, receipt, error } = await setUp(home, { quant });
      expect(error).toBeNull();
      const plan = only(events, 'plan')[0]?.plan;
      expect(steps(events)).toEqual([
        ['plan', 'done'],
        ['engine', 'skipped'],
        ['fetch', 'done'],
        ['pack', 'done'],
        ['finish', 'done'],
        ['service', 'skipped'],
        ['first-answer', 'done'],
      ]);
      const directory = plan?.directory ?? '';
      const manifest = await readManifest(join(directory, 'manifest.json'));
      expect(manifest?.receipt).toEqual(receipt);
      expect(manifest?.finalBytes).toBe(plan?.finalBytes);
      for (const { path, size } of manifest?.files ?? []) {
        expect((await stat(join(directory, path))).size, path).toBe(size);
      }
      expect(receipt?.downloadedBytes).toBe(plan?.downloadBytes);
      const measured = Math.max(...only(events, 'disk').map(({ usedBytes }) => usedBytes));
      expect(receipt?.peakBytes).toBe(measured);
      expect(measured).toBeLessThanOrEqual(plan?.peakBytes ?? 0);
      expect(receipt?.answers.every(({ ok }) => ok)).toBe(true);
      // Of a model of which nothing is known no token is asked.
      if (quant === '4bit') expect(receipt?.tokensPerSecond).toBeGreaterThan(0);
    },
  );

  it('deletes its own scratch in the model folder, and no file of the user', async () => {
    const users = ['thesis.partial', 'download/notes.txt', 'packed_experts/essay.partial'];
    const ours = ['download/spool', 'model_weights.bin.partial', 'download/config.json.partial'];
    for (const path of [...users, ...ours]) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), 'mine');
    }
    expect((await setUp(home)).error).toBeNull();
    for (const path of users) expect(await readFile(join(root, path), 'utf8')).toBe('mine');
    for (const path of ours) await expect(stat(join(root, path))).rejects.toThrow('ENOENT');
    expect(await readdir(join(root, 'download'))).toEqual(['notes.txt']);
  });

  it('run again does nothing, says so, and asks the model once more', async () => {
    await alreadyFinished();
    const length = await journalLength(root);
    const again = await setUp(home);
    expect(steps(again.events)).toEqual([
      ['plan', 'done'],
      ['engine', 'skipped'],
      ['fetch', 'skipped'],
      ['pack', 'skipped'],
      ['finish', 'skipped'],
      ['service', 'skipped'],
      ['first-answer', 'done'],
    ]);
    const plan = only(again.events, 'plan')[0]?.plan;
    expect(plan?.doneBytes).toBe(plan?.downloadBytes);
    expect(again.receipt).toEqual({
      ...finished.result.receipt,
      tokensPerSecond: again.receipt?.tokensPerSecond,
      check: again.receipt?.check,
    });
    expect(again.receipt?.check).toMatchObject({ verdict: 'passed', reasons: [] });
    expect(await hashesBelow(root)).toEqual(finished.hashes);
    expect(await journalLength(root)).toBe(length);
  });

  it('fetches the next shard while it names layers, and never holds a shard', async () => {
    const { events } = finished.result;
    const at = (match: Partial<InstallEvent>): number =>
      events.findIndex((event) => isDeepStrictEqual({ ...event, ...match }, event));
    const last = 'model-00003-of-00003.safetensors';
    const lastStarts = at({ type: 'shard', shard: last, step: 'fetch', status: 'started' });
    expect(lastStarts).toBeGreaterThan(0);
    expect(lastStarts).toBeLessThan(at({ type: 'layer', layer: 7, status: 'done' }));
    const largest = Math.max(...only(events, 'disk').map(({ usedBytes }) => usedBytes));
    const final = finished.result.receipt?.finalBytes ?? 0;
    // The ring for early bytes and the records, of a model of a few megabytes.
    expect(largest).toBeLessThan(final + (1 << 20) + (256 << 10));
    expect(await readdir(join(finished.home, 'models', 'tiny'))).not.toContain('download');
  });

  it('interrupted again and again keeps what was finished and says how to go on', async () => {
    for (const [type, status] of [
      ['plan', undefined],
      ['shard', 'started'],
      ['layer', 'started'],
      ['layer', 'done'],
      ['layer', 'done'],
    ] as const) {
      const stopped = await setUp(home, {
        onEvent: (event, { abort }) => {
          const is = event.type === type && (status === undefined || 'status' in event);
          if (is && (status === undefined || ('status' in event && event.status === status))) {
            abort.abort();
          }
        },
      });
      expect(stopped.error).toMatchObject({
        code: 'ERR_INTERRUPTED',
        resumable: true,
        hint: 'run `flashmoe setup tiny` to go on',
      });
    }
    const last = await setUp(home);
    expect(last.error).toBeNull();
    expect(packedLayers(last.events).length).toBeLessThan(7);
    expect(await hashesBelow(root)).toEqual(finished.hashes);
  });

  it('paused holds still until it is resumed, and then finishes', async () => {
    const seen: string[] = [];
    const { events, error } = await setUp(home, {
      onEvent: (event, { controls }) => {
        if (event.type === 'layer' && event.layer === 2 && event.status === 'started') {
          controls.pause();
          setTimeout(() => {
            seen.push('resume');
            controls.resume();
          }, 150);
        }
        if (event.type === 'layer') seen.push(`${event.layer} ${event.status}`);
      },
    });
    expect(error).toBeNull();
    // The layer at hand is finished; the next begins only afterwards.
    expect(seen.slice(seen.indexOf('2 done'), seen.indexOf('2 done') + 3)).toEqual([
      '2 done',
      'resume',
      '3 started',
    ]);
    expect(only(events, 'waiting')).toMatchObject([{ code: 'paused' }]);
    expect(only(events, 'resumed')).toHaveLength(1);
  });

  it('paused in the middle of a download lets go of the line and keeps the bytes', async () => {
    const hub = await FaultHub.start(FIXTURE, 'flashmoe/tiny');
    try {
      const second = 'model-00002-of-00003.safetensors';
      const sha256 = sha256Of(await readFile(join(FIXTURE, second)));
      let [fetching, paused, begun] = [false, false, 0];
      hub.rule({
        on: 'cdn',
        fault: ({ request, response, status, headers, body, send }) => {
          // Of a shard that has begun half of each answer, then silence: only a pause gets away from it this soon.
          if (!fetching || paused || !request.path.endsWith(sha256)) return send();
          if ((begun += body.length) < 1 << 18) return send();
          response.writeHead(status, headers);
          response.write(body.subarray(0, body.length / 2));
        },
      });
      const { receipt, events, error } = await setUp(home, {
        request: { bundled: null },
        world: { hub: testSettings(hub.endpoint) },
        onEvent: (event, { controls }) => {
          if (event.type === 'step' && event.step === 'fetch') fetching = true;
          if (event.type !== 'progress' || event.step !== 'fetch' || paused) return;
          if (event.item !== second) return;
          paused = true;
          controls.pause();
          setImmediate(() => {
            controls.resume();
          });
        },
      });
      expect(error).toBeNull();
      expect(only(events, 'waiting')).toMatchObject([{ code: 'paused' }]);
      const plan = only(events, 'plan')[0]?.plan;
      expect(receipt?.downloadedBytes).toBe(plan?.downloadBytes);
    } finally {
      await hub.close();
    }
  });

  it('is refused while another one is at work in the same folder', async () => {
    let other: RunResult | null = null;
    const first = await setUp(home, {
      world: {
        // The first can't end before the other has.
        openEngine: async (options) => {
          other = await setUp(home);
          return openEngine(options);
        },
      },
    });
    expect(first.error).toBeNull();
    expect(other).toMatchObject({
      error: { code: 'ERR_LOCKED', message: expect.stringContaining(`${process.pid}`) as string },
    });
  });

  it('whose model answers wrongly fails loudly and leaves no receipt', async () => {
    const [question] = questionsFor('4bit');
    if (question?.kind !== 'tokens') throw new Error('the fixture has token questions');
    const wrong = { ...question, expected: question.expected.toReversed() };
    await alreadyFinished();
    const { error, events } = await setUp(home, { request: { questions: [wrong] } });
    expect(error).toMatchObject({
      code: 'ERR_KNOWN_ANSWER',
      message: expect.stringContaining('greedy tokens: expected') as string,
      hint: expect.stringContaining('flashmoe verify tiny') as string,
    });
    expect(only(events, 'answer')).toMatchObject([{ answer: { ok: false } }]);
    expect((await readManifest(paths().manifest))?.receipt).toBeNull();
  });
});

describe('a model that was damaged after its setup', { timeout: 60_000 }, () => {
  beforeEach(alreadyFinished);

  it.each([
    [join('packed_experts', 'layer_00.bin'), 1],
    ['model_weights.bin', 3],
    ['tokenizer.json', 0],
  ])('gets a cut off %s back by fetching only what it needs', async (file, shards) => {
    await truncate(join(root, file), 1000);
    const { events, error } = await setUp(home);
    expect(error).toBeNull();
    expect(fetched(events)).toHaveLength(shards);
    expect(packedLayers(events)).toEqual(file.endsWith('layer_00.bin') ? [0] : []);
    expect(await hashesBelow(root)).toEqual(finished.hashes);
  });

  it('gets its manifests back without fetching anything', async () => {
    for (const file of ['model_weights.json', join('packed_experts', 'layout.json'), 'plan.json']) {
      await rm(join(root, file));
    }
    await writeFile(paths().manifest, '{');
    const { events, error } = await setUp(home);
    expect(error).toBeNull();
    expect(fetched(events)).toEqual([]);
    expect(await hashesBelow(root)).toEqual(finished.hashes);
  });

  it('is mended where a check found a flipped byte', async () => {
    const files = ['packed_experts/layer_05.bin', 'model_weights.bin', 'tokenizer.json'];
    for (const file of files) {
      const handle = await open(join(root, file), 'r+');
      await handle.write(Buffer.from([0x5a]), 0, 1, 100);
      await handle.close();
    }
    expect(await hashesBelow(root)).not.toEqual(finished.hashes);
    expect(await recordDamage(paths(), files)).toBe(true);
    expect((await setUp(home)).error).toBeNull();
    expect(await hashesBelow(root)).toEqual(finished.hashes);
  });
});

describe('a folder that cannot be used', () => {
  it('is named when a file stands in its way', async () => {
    await writeFile(join(home, 'models'), '');
    const { error } = await setUp(home);
    expect(error).toMatchObject({
      code: 'ERR_HOME',
      hint: expect.stringContaining('--home') as string,
    });
    expect(await readdir(home)).toEqual(['models']);
  });

  it('stays as it is when it holds the setup of something else', async () => {
    await setUp(home, {
      onEvent: (event, { abort }) => {
        if (event.type === 'layer') abort.abort();
      },
    });
    const hub = await FaultHub.start(FIXTURE, 'other/model');
    try {
      const before = await readFile(paths().journal);
      const { error } = await setUp(home, {
        request: { bundled: null, repo: 'other/model' },
        world: { hub: testSettings(hub.endpoint) },
      });
      expect(error).toMatchObject({
        code: 'ERR_JOURNAL',
        message: expect.stringContaining('flashmoe/tiny there, other/model now') as string,
      });
      expect(await readFile(paths().journal)).toEqual(before);
    } finally {
      await hub.close();
    }
  });
});

describe('a branch that moved on', { timeout: 60_000 }, () => {
  const moved = (hub: FaultHub): void => {
    hub.rule({
      on: 'hub',
      path: /^\/api\/models\/flashmoe\/tiny\/revision\/main$/,
      fault: ({ body, send, headers }) => {
        const text = body.toString().replaceAll(hub.commit, 'b'.repeat(40));
        send({ body: Buffer.from(text), headers: { ...headers, 'content-length': text.length } });
      },
    });
  };

  it('is reported, and the setup stays with the commit it began from', async () => {
    const hub = await FaultHub.start(FIXTURE, 'flashmoe/tiny');
    const online = {
      request: { bundled: null },
      world: { hub: testSettings(hub.endpoint) },
    };
    try {
      await setUp(home, {
        ...online,
        onEvent: (event, { abort }) => {
          if (event.type === 'layer' && event.status === 'done') abort.abort();
        },
      });
      moved(hub);
      const { events, receipt } = await setUp(home, online);
      expect(receipt?.commit).toBe(hub.commit);
      expect(only(events, 'notice').map(({ message }) => message)).toEqual([
        expect.stringMatching(
          /main of flashmoe\/tiny is now at bbbbbbbbbbbb.*stays with/,
        ) as string,
      ]);
    } finally {
      await hub.close();
    }
  });

  it('of a bundled model replaces what an older version made of it, and no file of the user', async () => {
    const folder = join(home, 'older');
    await cp(FIXTURE, folder, { recursive: true });
    await writeFile(join(folder, 'README.md'), 'An older version.');
    const older = await setUp(home, {
      request: { bundled: folder },
      onEvent: (event, { abort }) => {
        if (event.type === 'layer' && event.status === 'done') abort.abort();
      },
    });
    for (const path of ['thesis.partial', 'download/notes.txt'])
      await writeFile(join(root, path), 'mine');
    const { events, receipt, error } = await setUp(home);
    expect(error).toBeNull();
    for (const path of ['thesis.partial', 'download/notes.txt']) {
      expect(await readFile(join(root, path), 'utf8')).toBe('mine');
    }
    const commit = only(older.events, 'plan')[0]?.plan.commit;
    expect(receipt?.commit).not.toBe(commit);
    expect(only(events, 'notice')[0]?.message).toContain('has changed');
    expect(packedLayers(events)).toHaveLength(8);
  });

  it('is no reason to stop when nobody can be asked and nothing is left to fetch', async () => {
    await alreadyFinished();
    const hub = testSettings('https://hub.example', { offline: true });
    const { error, events } = await setUp(home, { request: { bundled: null }, world: { hub } });
    expect(error).toBeNull();
    expect(only(events, 'notice')[0]?.message).toContain('is unknown');
  });
});
