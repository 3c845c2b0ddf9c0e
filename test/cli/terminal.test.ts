import { readdirSync, readFileSync } from 'node:fs';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test, type TestContext } from 'vitest';
import { BUILD_MS, buildCli, flashmoe, mainScript } from '../helpers/built-cli.js';
import type { FaultHub } from '../helpers/hub/fault-hub.js';
import { SLOW_ID, SLOW_REPO, startSlowHub } from '../helpers/slow-hub.js';
import { openTerminal, tmuxMissing } from '../helpers/tmux.js';

const missing = tmuxMissing();
if (missing !== null) console.log(missing);

const folder = mkdtempSync(join(tmpdir(), 'flashmoe-terminal-'));
beforeAll(buildCli, BUILD_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Three runs of some seconds each; more on a busy machine. */
const LONG = { timeout: 180_000 };

/** One for each run, which makes it fast when the key under test was pressed. */
async function slowHub({ onTestFinished }: TestContext): Promise<FaultHub> {
  const hub = await startSlowHub();
  onTestFinished(() => hub.close());
  return hub;
}

function statusOf(home: string) {
  return flashmoe(['status', '--json'], { env: { FLASHMOE_HOME: home } }).then(
    ({ stdout }) => (JSON.parse(stdout) as { models: { state: string; id: string }[] }).models,
  );
}

describe
  .skipIf(missing !== null)
  .concurrent('setup on a real terminal, with the real installer', () => {
    test.for([
      { columns: 80, rows: 24 },
      { columns: 120, rows: 40 },
    ])('is paused, quit and resumed at $columns by $rows', LONG, async (size, context) => {
      const { expect, onTestFinished } = context;
      const hub = await slowHub(context);
      const home = join(folder, `${size.columns}`);
      const env = { FLASHMOE_HOME: home, HF_ENDPOINT: hub.endpoint };
      const words = [process.execPath, mainScript, 'setup', '--repo', SLOW_REPO, '--quant', '2bit'];
      const at = openTerminal(words, size, env);
      onTestFinished(() => at.close());
      await at.until((screen) => screen.includes('enter continue'));
      at.press('Enter');
      const plan = await at.until((screen) => screen.includes('agree and begin'));
      expect(plan).toMatch(/download +9,\d\d\d,\d\d\d bytes/);
      expect(readdirSync(folder)).not.toContain(`${size.columns}`);
      at.press('Enter');
      await at.until((screen) => screen.includes('1 of 3 shards'));
      at.press('p');
      await at.until((screen) => screen.includes('waiting') && screen.includes('p go on'));
      at.press('p');
      await at.until((screen) => !screen.includes('waiting'));
      at.press('q');
      const left = await at.until((screen) => screen.includes('exit: 130'));
      expect(left.replaceAll('\n', ' ')).toContain('setup --repo acme/tiny --quant 2bit` to go on');
      expect(at.cursorVisible()).toBe(true);
      expect(await statusOf(home)).toMatchObject([{ id: `${SLOW_ID}-2bit`, state: 'paused' }]);

      hub.reset();
      const again = openTerminal([...words, '--yes'], size, env);
      onTestFinished(() => again.close());
      await again.until((screen) => screen.includes('exit: 0'), 60);
      const history = again.history();
      expect(history).toContain('model-00001-of-00003.safetensors already here');
      expect(history).toContain(`${SLOW_ID} answers`);
      expect(again.cursorVisible()).toBe(true);
      expect(await statusOf(home)).toMatchObject([{ state: 'ready' }]);
    });

    test('goes on in the background after b until it is ready', LONG, async (context) => {
      const { expect, onTestFinished } = context;
      const hub = await slowHub(context);
      const home = join(folder, 'background');
      const env = { FLASHMOE_HOME: home, HF_ENDPOINT: hub.endpoint };
      const words = [process.execPath, mainScript, 'setup', '--repo', SLOW_REPO, '--yes'];
      const at = openTerminal(words, { columns: 80, rows: 24 }, env);
      onTestFinished(() => at.close());
      await at.until((screen) => screen.includes('1 of 3 shards'));
      at.press('b');
      const screen = await at.until((text) => text.includes('exit: 0'));
      expect(screen).toContain('how far it is: flashmoe status');
      const pid = Number(/as process (\d+)/.exec(screen)?.[1]);
      // Its terminal goes away; the run must not.
      at.close();
      hub.reset();
      await expect
        .poll(
          () => {
            const log = readFileSync(join(home, 'logs/setup.ndjson'), 'utf8');
            if (!log.includes('"event":"finished"')) process.kill(pid, 0);
            return log;
          },
          { timeout: 120_000, interval: 200 },
        )
        .toContain('"event":"finished"');
      expect(await statusOf(home)).toMatchObject([{ id: SLOW_ID, state: 'ready' }]);
      const log = readFileSync(join(home, 'logs/setup.ndjson'), 'utf8').trimEnd().split('\n');
      expect(log.every((line) => line.startsWith('{'))).toBe(true);
    });
  });
