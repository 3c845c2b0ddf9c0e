import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createFlashmoe } from '../../src/application/flashmoe.js';
import { BUILD_MS, buildCli, projectRoot } from '../helpers/built-cli.js';

const home = mkdtempSync(join(tmpdir(), 'flashmoe-program-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
beforeAll(buildCli, BUILD_MS);

test('the example of the documentation plans, sets up, answers and serves', async () => {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [join(projectRoot, 'examples/program.mjs'), home],
    { cwd: projectRoot, env: { ...process.env, FLASHMOE_HOME: '/nonexistent' } },
  );
  expect(stdout).toMatch(
    /^tiny: \d+ bytes to fetch, \d+ on disk\nsha256 [0-9a-f]{64}\nanswer \S.*\nserves tiny\n$/,
  );
  expect(stderr).toContain('plan done');
}, 120_000);

test('a program is refused what a command line is refused', async () => {
  const flashmoe = createFlashmoe('0', { home: join(home, 'other') });
  await expect(flashmoe.plan({})).rejects.toMatchObject({ code: 'ERR_USAGE' });
  await expect(flashmoe.plan({ model: 'tiny', size: -1 })).rejects.toThrow(
    'size must be a number of bytes',
  );
  await expect(flashmoe.open('tiny')).rejects.toMatchObject({ code: 'ERR_MODEL_MISSING' });
  expect(await flashmoe.models()).toEqual([]);
});
