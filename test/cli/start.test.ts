import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript, projectRoot } from '../helpers/built-cli.js';

const folder = mkdtempSync(join(tmpdir(), 'flashmoe-start-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(buildCli, BUILD_MS);

const version = (
  JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as { version: string }
).version;

async function modulesOf(args: string[]): Promise<string[]> {
  const log = join(folder, `${args.join('_')}.log`);
  const { status } = await flashmoe(args, {
    env: { MODULE_LOG: log },
    nodeArgs: ['--import', join(projectRoot, 'test/helpers/log-modules.mjs')],
  });
  expect(status).toBe(0);
  return readFileSync(log, 'utf8').trimEnd().split('\n');
}

async function run(args: string[]): Promise<void> {
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  const [status] = (await once(child, 'exit')) as [number | null];
  expect(status).toBe(0);
}

async function medianOfTen(work: () => Promise<void>): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < 10; run++) {
    const begun = performance.now();
    await work();
    times.push(performance.now() - begun);
  }
  times.sort((a, b) => a - b);
  return ((times[4] ?? 0) + (times[5] ?? 0)) / 2;
}

function matches(modules: string[], pattern: RegExp): string[] {
  return [...new Set(modules.flatMap((url) => pattern.exec(url)?.[1] ?? []))].sort();
}

/** What options may say; these modules import nothing but errors. */
const WORDS_OF_OPTIONS = ['engine/backend.js', 'models/quant.js'];

describe('the start path', () => {
  test.each([['--version'], ['--help']])(
    '%s loads commander, zod and light modules only',
    async (flag) => {
      const modules = await modulesOf([flag]);
      expect(matches(modules, /node_modules\/((?:@[^/]+\/)?[^/]+)/)).toEqual(['commander', 'zod']);
      expect(matches(modules, /\/dist\/((?!base\/|cli\/|settings\/).*)/)).toEqual(WORDS_OF_OPTIONS);
      expect(modules.filter((url) => /\/ui\/ink\/|\.node$/.test(url))).toEqual([]);
    },
  );

  test('the median of ten cold starts is reported, beside a bare node on the same machine', async () => {
    const bare = await medianOfTen(() => run(['-e', '0']));
    for (const flag of ['--version', '--help']) {
      const median = await medianOfTen(() => run([mainScript, flag]));
      const figures = `${median.toFixed(0)} ms, bare node ${bare.toFixed(0)} ms (target 90 ms)`;
      console.log(`${flag}: median of 10 cold starts ${figures}`);
      // The module list above is the guard; this bound only catches a start path gone badly wrong.
      expect(median).toBeLessThan(200 + bare * 4);
    }
  });

  test('--version prints the version of package.json', async () => {
    expect(await flashmoe(['--version'])).toEqual({
      status: 0,
      stdout: `${version}\n`,
      stderr: '',
    });
  });
});

describe('what was typed wrong', () => {
  test('an unknown option names the nearest one and exits 64', async () => {
    const result = await flashmoe(['--jsn']);
    expect(result.status).toBe(64);
    expect(result.stdout).toBe('');
    expect(result.stderr).toBe("unknown option '--jsn'\n\nhint: did you mean --json?\n");
  });

  test('with --json the error is the last line on stdout and nothing is on stderr', async () => {
    const result = await flashmoe(['--json', '--colour']);
    expect(result.status).toBe(64);
    expect(result.stderr).toBe('');
    expect(JSON.parse(result.stdout)).toMatchObject({
      v: 1,
      event: 'failed',
      code: 'ERR_USAGE',
      message: "unknown option '--colour'",
      hint: 'did you mean --color?',
      resumable: false,
    });
  });
});
