// Every family in a geometry that is not its fixture's, against plain double-precision arithmetic (test/helpers/reference) that
// shares nothing with the engine, on every instruction set of this machine.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EngineOptions, NativeSession } from '../../src/addon/types.js';
import { packageRoot } from '../../src/base/package-root.js';
import { packDirectory } from '../../src/repack/pack-directory.js';
import { writeCheckpoint } from '../helpers/reference/checkpoint.js';
import { computeAll, type Computed } from '../helpers/reference/forward.js';
import { GEOMETRIES } from '../helpers/reference/geometries.js';
import { testAddon } from '../repack/fixtures.js';
import { deviations } from './golden.js';

/** In standard deviations of the reference. */
const TOLERANCE = 1e-3;
const TOKENS = 34;

const addon = testAddon();
const noProgress = () => undefined;
const seed = Number(process.env['FLASHMOE_SEED'] ?? 11);

describe.each(Object.entries(GEOMETRIES))('%s', (name, geometry) => {
  let folder = '';
  let options: EngineOptions;
  let reference: Computed;
  const tokens = Int32Array.from({ length: TOKENS }, (_, i) => (i * i * 7 + i * 3 + 5) % 92);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'flashmoe-geometry-'));
    const source = join(folder, 'source');
    const checkpoint = await writeCheckpoint(source, geometry, seed);
    reference = computeAll(checkpoint, [...tokens]);
    const made = { addon, quant: '4bit' as const, threads: 2 };
    const packed = await packDirectory(source, join(folder, 'packed'), made);
    options = {
      ...{ modelDir: packed.modelDir, expertsDir: packed.expertsDir, threads: 2, ioThreads: 2 },
      ...{ tokenLimit: 96, expertsPerToken: 0, cache: 'f32', backend: 'cpu' },
      kernelsDir: join(packageRoot, 'metal'),
    };
  }, 60_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(['scalar', 'best'])(
    'logits and hidden states are those of double precision (%s)',
    async (isa) => {
      const chosen = isa === 'best' ? {} : { isa };
      const engine = await addon.openEngine({ ...options, ...chosen }).done;
      const session = engine.createSession(64);
      const { logits, hidden } = await session.evaluate(tokens, true).done;
      session.close();
      engine.close();
      const off = [logits, ...hidden].map((got, i) =>
        deviations(got, i === 0 ? reference.logits : (reference.hidden[i - 1] ?? got)),
      );
      console.log(`${name}, ${isa}: ${off.map((value) => value.toExponential(1)).join(' ')}`);
      expect(hidden).toHaveLength(reference.hidden.length);
      off.forEach((value, i) => expect(value, `${i}`).toBeLessThan(TOLERANCE));
    },
  );

  test.each(['f32', '16bit'] as const)(
    'one batch, pieces and single tokens give the same bits (%s)',
    async (cache) => {
      const engine = await addon.openEngine({ ...options, cache, prefillTokens: 13 }).done;
      const session = engine.createSession(64);
      const inPieces = async (open: NativeSession, size: number): Promise<Float32Array> => {
        open.reset();
        for (let at = 0; at < TOKENS; at += size) {
          const piece = tokens.slice(at, at + size);
          const [token] = piece;
          if (size === 1 && token !== undefined) await open.decode(token).done;
          else await open.prefill(piece, noProgress).done;
        }
        return open.logits();
      };
      const whole = await inPieces(session, TOKENS);
      for (const size of [1, 4, 11]) {
        expect(deviations(await inPieces(session, size), whole), `pieces of ${size}`).toBe(0);
      }
      session.close();
      engine.close();
    },
  );
});
