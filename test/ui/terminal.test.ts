import { fileURLToPath } from 'node:url';
import { describe, test, vi, type TestContext } from 'vitest';
import { builtProgram } from '../helpers/built-program.js';
import { openTerminal, tmuxMissing, type Terminal } from '../helpers/tmux.js';

const program = builtProgram(
  fileURLToPath(new URL('../helpers/recorded-wizard.ts', import.meta.url)),
);
const missing = tmuxMissing();
if (missing !== null) console.log(missing);

// Seven terminals at once, each with a node of its own.
vi.setConfig({ testTimeout: 120_000 });

const SMALL = { columns: 80, rows: 24 };
const LARGE = { columns: 120, rows: 40 };

interface Scene {
  size: { columns: number; rows: number };
  recording?: string;
  stepMs?: number;
}

/** The wizard on a terminal, taken through its questions to the run. */
async function agreed(
  { onTestFinished }: TestContext,
  { size, recording = 'setup-2bit', stepMs = 20 }: Scene,
): Promise<Terminal> {
  const at = openTerminal([process.execPath, program, recording, `${stepMs}`], size);
  onTestFinished(() => at.close());
  await at.until((screen) => screen.includes('Apple M4 Pro'));
  at.press('Enter');
  await at.until((screen) => screen.includes('MODEL'));
  at.press('Down');
  await at.until((screen) => screen.includes('› qwen3-235b'));
  at.press('Enter');
  await at.until((screen) => screen.includes('perplexity'));
  at.press('Down', 'Enter');
  await at.until((screen) => screen.includes('agree and begin'));
  at.press('Enter');
  await at.until((screen) => /quit safely|exit:/.test(screen));
  return at;
}

describe.skipIf(missing !== null).concurrent('on a real terminal', () => {
  test.for([SMALL, LARGE])(
    'the wizard leads to a finished run at $columns by $rows, each shard above it once',
    async (size, context) => {
      const { expect } = context;
      const at = await agreed(context, { size, stepMs: 4 });
      await at.until((screen) => screen.includes('exit: 0'));
      const history = at.history();
      expect(history).toContain('outcome: finished');
      for (const shard of ['00001', '00002', '00003', '00004']) {
        expect(history.split(`model-${shard}-of-00004.safetensors verified`)).toHaveLength(2);
      }
      // One frame remains: a redraw that left lines behind would show a second title.
      expect(history.split('flashmoe setup qwen3.5-35b')).toHaveLength(2);
      expect(at.cursorVisible()).toBe(true);
    },
  );

  test('a window that changes its size many times shows one frame, whole, and no line of an older one', async (context) => {
    const { expect } = context;
    const at = await agreed(context, { size: LARGE, stepMs: 60 });
    const sizes = [{ columns: 60, rows: 15 }, SMALL, LARGE];
    for (let round = 0; round < 4; round++) {
      for (const size of sizes) {
        at.resize(size);
        const background = size.columns < 70 ? 'b background' : 'b go on in the background';
        await at.until((screen) => {
          const lines = screen.split('\n');
          const count = (text: string): number =>
            lines.filter((line) => line.includes(text)).length;
          const isWhole = count('flashmoe setup qwen3.5-35b') === 1 && count(background) === 1;
          return isWhole && count('q quit safely') === 1 && count('promised') <= 1;
        }, 5);
      }
    }
    // What was printed above the frame stays.
    await at.until((screen) => screen.includes('model-00001-of-00004.safetensors verified'));
    for (const size of [...sizes, ...sizes]) at.resize(size);
    at.press('q');
    await at.until((screen) => screen.includes('exit: 130'));
    expect(at.history()).toContain('model-00001-of-00004.safetensors verified');
  });

  test.for([SMALL, LARGE])(
    'p holds the run still at $columns by $rows, p goes on, q quits with 130',
    async (size, context) => {
      const { expect } = context;
      const at = await agreed(context, { size });
      await at.until((screen) => / of 19\.5 GB/.test(screen));
      at.press('p');
      await at.until((screen) => screen.includes('paused by you') && screen.includes('p go on'));
      expect(at.cursorVisible()).toBe(false);
      at.press('p');
      await at.until((screen) => !screen.includes('paused by you'));
      at.press('q');
      await at.until((screen) => screen.includes('exit: 130'));
      expect(at.screen().join('\n')).toContain('outcome: quit');
      expect(at.cursorVisible()).toBe(true);
    },
  );

  test('? shows the keys, and any key goes back', async (context) => {
    const at = openTerminal([process.execPath, program, 'setup-2bit', '20'], SMALL);
    context.onTestFinished(() => at.close());
    await at.until((screen) => screen.includes('enter continue'));
    for (const key of ['x', 'Enter', '?']) {
      at.press('?');
      await at.until((screen) => screen.includes('any key back'));
      at.press(key);
      await at.until((screen) => screen.includes('enter continue'));
    }
  });

  test('Ctrl-C quits like q and gives the cursor back', async (context) => {
    const { expect } = context;
    const at = await agreed(context, { size: SMALL });
    at.press('C-c');
    await at.until((screen) => screen.includes('exit: 130'));
    expect(at.cursorVisible()).toBe(true);
  });

  test('b ends this view and hands the run over', async (context) => {
    const { expect } = context;
    const at = await agreed(context, { size: SMALL });
    at.press('b');
    await at.until((screen) => screen.includes('outcome: background'));
    expect(at.cursorVisible()).toBe(true);
  });

  test('a failed run leaves the reason and the cursor', async (context) => {
    const { expect } = context;
    const at = await agreed(context, { size: SMALL, recording: 'failed-hash' });
    await at.until((screen) => screen.includes('exit: 1'));
    expect(at.screen().join('\n')).toContain('sha256 differs');
    expect(at.cursorVisible()).toBe(true);
  });
});
