import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Quant } from '../../src/models/quant.js';
import { installationId } from '../../src/store/model-files.js';
import { FaultHub, type Rule } from '../helpers/hub/fault-hub.js';
import {
  answer,
  endAfter,
  expired,
  flipByte,
  ignoreRange,
  loginPage,
  resetAfter,
  withHeaders,
} from '../helpers/hub/faults.js';
import { testSettings } from '../helpers/hub/settings.js';
import { only, setUp, type RunResult } from '../installer/in-process.js';
import { FIXTURE, hashesBelow } from '../installer/provisioned.js';

let home: string;
let hub: FaultHub;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'fm-ranges-'));
  hub = await FaultHub.start(FIXTURE, 'flashmoe/tiny');
});
afterEach(async () => {
  await hub.close();
  await rm(home, { recursive: true });
});

/** A setup from the fault hub, whose rules hold from the first request for weights on. */
function setUpWith(rules: Rule[], quant: Quant = '4bit'): Promise<RunResult> {
  let armed = false;
  return setUp(home, {
    quant,
    request: { bundled: null },
    world: { hub: testSettings(hub.endpoint) },
    onEvent: (event) => {
      if (event.type !== 'shard' || armed) return;
      armed = true;
      for (const rule of rules) hub.rule(rule);
    },
  });
}

const rootOf = (quant: Quant): string => join(home, 'models', installationId('tiny', quant));

async function expectSameAsUndisturbed(quant: Quant): Promise<void> {
  const other = join(home, 'other');
  expect((await setUp(other, { quant })).error).toBeNull();
  const undisturbed = join(other, 'models', installationId('tiny', quant));
  const [made, expected] = [await hashesBelow(rootOf(quant)), await hashesBelow(undisturbed)];
  expect(made).toEqual(expected);
}

describe('weights by ranges', { timeout: 120_000 }, () => {
  it.each([
    ['a connection that is cut in a range', { on: 'cdn', times: 3, fault: resetAfter(9_000) }],
    ['a body that ends early', { on: 'cdn', times: 3, fault: endAfter(700) }],
    ['an address that has expired', { on: 'cdn', times: 1, fault: expired }],
    ['a login page in place of bytes', { on: 'cdn', times: 1, fault: loginPage }],
    ['a 429 that says when', { on: 'cdn', times: 1, fault: answer(429, { 'retry-after': '0' }) }],
    [
      'another Content-Range than asked for',
      { on: 'cdn', times: 1, fault: withHeaders({ 'content-range': 'bytes 5-9/10' }) },
    ],
    [
      'another etag in mid-file',
      { on: 'cdn', after: 2, times: 1, fault: withHeaders({ etag: '"x"' }) },
    ],
    ['a range that was ignored once', { on: 'cdn', after: 2, times: 1, fault: ignoreRange }],
  ] as [string, Rule][])('survive %s', async (_, rule) => {
    const { error, events } = await setUpWith([rule]);
    expect(error).toBeNull();
    expect(only(events, 'notice').filter(({ message }) => /whole shards/.test(message))).toEqual(
      [],
    );
  });

  it.each(['4bit', '2bit'] as const)(
    'at %s with one flipped byte are fetched once more, and the model is right',
    async (quant) => {
      const { error, events } = await setUpWith(
        [{ on: 'cdn', after: 1, times: 1, fault: flipByte(11) }],
        quant,
      );
      expect(error).toBeNull();
      expect(only(events, 'notice').map(({ message }) => message)).toContainEqual(
        expect.stringMatching(/sha256 is [0-9a-f]{64}, where the listing says .* fetched again$/),
      );
      // The address that gave it is asked for anew, that of no other shard is.
      const resolved = hub.log
        .filter(({ side, path }) => side === 'hub' && path.includes('/resolve/'))
        .map(({ path }) => path);
      expect(
        resolved.filter((path) => path.endsWith('model-00001-of-00003.safetensors')).length,
      ).toBe(
        resolved.filter((path) => path.endsWith('model-00002-of-00003.safetensors')).length + 1,
      );
      await expectSameAsUndisturbed(quant);
    },
  );

  it('are gone back over without the scratch of what was placed already', async () => {
    // At two bits the third shard begins within the second: its last bytes come, and wrong, when the second is whole.
    const third = join(FIXTURE, 'model-00003-of-00003.safetensors');
    const { size } = await stat(third);
    const oid = createHash('sha256')
      .update(await readFile(third))
      .digest('hex');
    let secondIsWhole = (): void => undefined;
    const whole = new Promise<void>((resolve) => (secondIsWhole = resolve));
    let spoilt = false;
    hub.rule({
      on: 'cdn',
      path: new RegExp(oid),
      fault: async (exchange) => {
        if (exchange.request.range?.end !== size || spoilt) return exchange.send();
        spoilt = true;
        await whole;
        await flipByte(11)(exchange);
      },
    });
    let scratch: string[] | null = null;
    const { error, events } = await setUp(home, {
      quant: '2bit',
      request: { bundled: null },
      world: { hub: testSettings(hub.endpoint) },
      onEvent: (event) => {
        if (event.type === 'shard' && event.shard.includes('00002') && event.status === 'done') {
          secondIsWhole();
        }
        if (event.type === 'step' && event.step === 'pack' && event.status === 'done') {
          scratch = readdirSync(join(rootOf('2bit'), 'download')).filter((name) =>
            name.startsWith('params-'),
          );
        }
      },
    });
    expect(error).toBeNull();
    expect(only(events, 'notice').map(({ message }) => message)).toContainEqual(
      expect.stringMatching(/00003.*fetched again$/),
    );
    expect(scratch).toEqual([]);
    await expectSameAsUndisturbed('2bit');
  });

  it('that are wrong twice end the setup with both hashes, and no file of theirs has its name', async () => {
    const { error } = await setUpWith([
      { on: 'cdn', fault: (exchange) => flipByte(exchange.time % 200)(exchange) },
    ]);
    expect(error).toMatchObject({
      code: 'ERR_HASH',
      message: expect.stringMatching(
        /sha256 is [0-9a-f]{64}, .* wrong twice \([0-9a-f]{64} before\)/,
      ) as string,
    });
    const names = await readdir(join(rootOf('4bit'), 'packed_experts'));
    expect(names.filter((name) => !name.endsWith('.partial'))).toEqual([]);
    // The next run begins the shard anew.
    hub.reset();
    const again = await setUp(home, {
      request: { bundled: null },
      world: { hub: testSettings(hub.endpoint) },
    });
    expect(again.error).toBeNull();
    await expectSameAsUndisturbed('4bit');
  });

  it('come as whole shards from a server that ignores ranges, which is said', async () => {
    const { error, events } = await setUpWith([{ on: 'cdn', fault: ignoreRange }]);
    expect(error).toBeNull();
    expect(only(events, 'notice').map(({ message }) => message)).toContainEqual(
      expect.stringMatching(/whole shards are fetched from here on, which needs more room$/),
    );
    await expectSameAsUndisturbed('4bit');
  });

  it('are planned as whole shards when headers come through a server that ignores ranges', async () => {
    hub.rule({ on: 'cdn', fault: ignoreRange });
    const world = { hub: testSettings(hub.endpoint) };
    const { error, events } = await setUp(home, { request: { bundled: null }, world });
    expect(error).toBeNull();
    const said = only(events, 'notice').filter(({ message }) => /ignores ranges/.test(message));
    expect(said.map(({ message }) => message)).toEqual([
      expect.stringMatching(/whole shards are fetched, which needs more room$/),
    ]);
    const peaks = only(events, 'plan').map(({ plan }) => plan.peakBytes);
    const used = Math.max(...only(events, 'disk').map(({ usedBytes }) => usedBytes));
    expect(used).toBeLessThanOrEqual(Math.min(...peaks));
    await expectSameAsUndisturbed('4bit');
  });
});
