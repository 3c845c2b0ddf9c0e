// Whole setups of GGUF models from a hub over HTTP: blocks go to their places byte for byte, whatever kills the setup.

import { cpSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { homePaths } from '../../src/base/paths.js';
import { openEngine } from '../../src/engine/open-engine.js';
import type { TokensQuestion } from '../../src/models/smoke.js';
import { parseGguf, type GgufTensor } from '../../src/repack/gguf.js';
import type { DenseManifest, ExpertsManifest } from '../../src/models/spec.js';
import { installationPaths } from '../../src/store/model-files.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import { ignoreRange } from '../helpers/hub/faults.js';
import { testSettings } from '../helpers/hub/settings.js';
import { fixture } from '../repack/fixtures.js';
import { KilledSetup } from './cut-short.js';
import { only, setUp, type RunOptions, type RunResult } from './in-process.js';
import { hashesBelow } from './provisioned.js';

let home: string;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'fm-gguf-'));
});
afterAll(() => rm(home, { recursive: true }));

const PROMPT: TokensQuestion = {
  ...{ kind: 'tokens', name: 'a prompt', prompt: [3, 14, 15, 92, 65], expected: [], margins: [] },
};
const QWEN = 'qwen3moe-mixed';
const DEEPSEEK = 'deepseek2-split';

/** The repository of a model: its files without what it is held against. */
function repository(name: string): string {
  const folder = join(home, 'repositories', name);
  const filter = (path: string): boolean => !path.includes('golden');
  cpSync(join(fixture('gguf'), name), folder, { recursive: true, filter });
  return folder;
}

/** Served on loopback by the hub's own routes, fetched as any repository is. */
function setUpFrom(
  name: string,
  at: string,
  { request, ...others }: RunOptions = {},
): Promise<RunResult> {
  const asked = { bundled: repository(name), questions: [], ...request };
  return setUp(join(home, at), { ...others, request: asked });
}

/** Tensors of all files, with their bytes. */
function tensorsIn(folder: string, files: string[]): Map<string, GgufTensor & { bytes: Buffer }> {
  return new Map(
    files.flatMap((file) => {
      const whole = readFileSync(join(folder, file));
      const { tensors } = parseGguf(whole, whole.length, file) ?? { tensors: [] };
      return tensors.map((tensor): [string, GgufTensor & { bytes: Buffer }] => [
        tensor.name,
        { ...tensor, bytes: whole.subarray(tensor.offset, tensor.offset + tensor.size) },
      ]);
    }),
  );
}

describe('a GGUF model', { timeout: 120_000 }, () => {
  it.each([
    [QWEN, ['qwen3moe-mixed.gguf']],
    [DEEPSEEK, [1, 2].map((i) => `deepseek2-split-0000${i}-of-00002.gguf`)],
  ])('%s is packed byte for byte, and nothing but its files is fetched', async (name, files) => {
    const { events, error } = await setUpFrom(name, name, { request: { questions: [PROMPT] } });
    expect(error).toBeNull();
    const folder = repository(name);
    expect(
      only(events, 'step').find((e) => e.step === 'finish' && e.status === 'done'),
    ).toBeDefined();
    const paths = installationPaths(homePaths(join(home, name)), 'tiny', '4bit');
    const tensors = tensorsIn(folder, files);
    const layout = JSON.parse(
      await readFile(join(paths.experts('4bit'), 'layout.json'), 'utf8'),
    ) as ExpertsManifest;
    for (const { layer, file, layout: index } of layout.layers) {
      const packed = readFileSync(join(paths.experts('4bit'), file));
      const { expert_stride, components } = layout.layouts[index] ?? { components: [] };
      for (const { name: component, offset, size, mode, shape, dtype } of components) {
        const stem = component.replace('_proj.weight', '');
        const source = tensors.get(`blk.${layer}.ffn_${stem}_exps.weight`);
        expect([mode, dtype]).toEqual([source?.type.toLowerCase(), 'U8']);
        expect(shape[0]).toBe(source?.shape[1]);
        for (let e = 0; e < layout.num_experts; e += 1) {
          const at = e * (expert_stride ?? 0) + offset;
          const own = source?.bytes.subarray(e * size, (e + 1) * size);
          expect(packed.subarray(at, at + size).equals(own ?? Buffer.alloc(0))).toBe(true);
        }
      }
    }
    const dense = JSON.parse(await readFile(paths.denseManifest, 'utf8')) as DenseManifest;
    const weights = readFileSync(join(paths.root, 'model_weights.bin'));
    const routed = [...tensors.values()].filter(({ name: each }) => each.includes('_exps'));
    const sizes = Object.values(dense.tensors).reduce((sum, { size }) => sum + size, 0);
    const left = [...tensors.values()].filter((tensor) => !routed.includes(tensor));
    expect(sizes).toBe(left.reduce((sum, { size }) => sum + size, 0));
    const embed = dense.tensors['model.embed_tokens.weight'];
    const { bytes, type } = tensors.get('token_embd.weight') ?? {
      bytes: Buffer.alloc(0),
      type: '',
    };
    expect(embed).toMatchObject({ dtype: 'U8', mode: type.toLowerCase() });
    const { offset = 0, size = 0 } = embed ?? {};
    expect(weights.subarray(offset, offset + size).equals(bytes)).toBe(true);
    const [planned] = only(events, 'plan');
    const fetched = files.reduce((sum, file) => sum + readFileSync(join(folder, file)).length, 0);
    expect(planned?.plan.downloadBytes).toBe(fetched);
  });

  it('that the GPU has not all kernels for proves itself on the CPU, and says how it is used', async () => {
    const opened: unknown[] = [];
    const { events, error } = await setUpFrom(QWEN, 'beyond', {
      request: { questions: [PROMPT] },
      world: {
        // As on a machine with a GPU: the backend refuses by name what it lacks.
        openEngine: async (model) => {
          opened.push(model.backend);
          if (model.backend !== undefined) return await openEngine(model);
          throw new FlashmoeError('ERR_UNSUPPORTED_MODEL', 'metal has no weights in GGUF blocks');
        },
      },
    });
    expect(error).toBeNull();
    expect(opened).toEqual([undefined, 'cpu']);
    const notices = only(events, 'notice').map(({ message }) => message);
    expect(notices.join()).toMatch(/metal has no weights in GGUF blocks; .*`--backend cpu`/);
  });

  it('that is killed again and again makes the files of a setup that was left alone', async () => {
    const repo = repository(DEEPSEEK);
    const alone = await KilledSetup.of(repo, join(home, 'alone'), '4bit');
    const killed = await KilledSetup.of(repo, join(home, 'killed'), '4bit');
    try {
      const whole = await alone.run(null);
      expect(whole.finished, whole.stderr).toBe(true);
      let deaths = 0;
      for (; deaths < 6; deaths += 1) {
        // The first one reads a megabyte of each file for the headers, before there is a plan to go on with.
        const headers = deaths === 0 ? 2 << 20 : 0;
        const run = await killed.run(headers + 700_000, 3 * deaths);
        if (run.finished) break;
      }
      const last = await killed.run(null);
      expect(last.finished, last.stderr).toBe(true);
      expect(deaths).toBeGreaterThan(3);
      // At most what is on its way, and a header where the small files were not there yet.
      expect(killed.sent).toBeLessThan(2 * alone.sent);
      console.log(`${deaths} kills, ${killed.sent - alone.sent} bytes wasted of ${alone.sent}`);
      expect(await hashesBelow(killed.paths.root)).toEqual(await hashesBelow(alone.paths.root));
    } finally {
      await alone.hub.close();
      await killed.hub.close();
    }
  });

  describe('is refused before anything is fetched where', () => {
    const many = async (): Promise<string> => {
      const folder = join(home, 'many');
      await mkdir(join(folder, 'Q8_0'), { recursive: true });
      const file = readFileSync(join(repository(QWEN), 'qwen3moe-mixed.gguf'));
      await writeFile(join(folder, 'tiny-Q4_K_M.gguf'), file);
      await writeFile(join(folder, 'Q8_0', 'tiny-Q8_0.gguf'), file);
      await writeFile(join(folder, 'mmproj-F16.gguf'), file);
      return folder;
    };

    it('the repository has several and none was chosen, naming them', async () => {
      const { error } = await setUpFrom(QWEN, 'several', { request: { bundled: await many() } });
      expect(error).toMatchObject({ code: 'ERR_USAGE', subject: '--file' });
      expect(error?.message).toMatch(/Q8_0\/tiny-Q8_0\.gguf.*tiny-Q4_K_M\.gguf/);
    });

    it('--file fits none, naming what is there', async () => {
      const { error } = await setUpFrom(QWEN, 'none', {
        request: { bundled: await many(), file: '*Q5*' },
      });
      expect(error?.message).toMatch(/"\*Q5\*" fits no GGUF file; there are .*tiny-Q4_K_M\.gguf/);
    });

    it('another width is asked for', async () => {
      const options = { quant: '2bit' as const };
      const { error } = await setUpFrom(QWEN, 'narrow', options);
      expect(error).toMatchObject({ code: 'ERR_USAGE', subject: '--quant' });
    });

    it('the server sends whole files only', async () => {
      const hub = await FaultHub.start(repository(QWEN), 'flashmoe/tiny');
      hub.rule({ on: 'cdn', fault: ignoreRange });
      try {
        const { error } = await setUpFrom(QWEN, 'whole', {
          request: { bundled: null },
          world: { hub: testSettings(hub.endpoint) },
        });
        expect(error?.code).toBe('ERR_REMOTE_CONTENT');
        expect(error?.message).toContain('GGUF files are taken range by range');
      } finally {
        await hub.close();
      }
    });

    it('a part is missing', async () => {
      const folder = join(home, 'parted');
      await mkdir(folder);
      const [part = ''] = [1].map((i) => `deepseek2-split-0000${i}-of-00002.gguf`);
      cpSync(join(repository(DEEPSEEK), part), join(folder, part));
      const { error } = await setUpFrom(DEEPSEEK, 'parts', { request: { bundled: folder } });
      expect(error?.message).toContain('is one of 2 parts, and 1 of them are there');
    });
  });
});
