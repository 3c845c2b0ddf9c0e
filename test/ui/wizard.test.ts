import { describe, expect, test } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { createWizard, type Wizard } from '../../src/ui/wizard.js';
import type { WizardOptions } from '../../src/ui/wizard-options.js';
import type { WizardKey, WizardState } from '../../src/ui/wizard-state.js';
import { recordedRunner, type RecordedRunner } from '../helpers/recorded-runner.js';

interface Driven {
  wizard: Wizard;
  runner: RecordedRunner;
  stop: AbortController;
  /** Waits until the state is as wanted, then presses keys. */
  when: (wanted: (state: WizardState) => boolean, ...keys: WizardKey[]) => Promise<void>;
}

function drive(options: Partial<WizardOptions> = {}, recording = 'setup-2bit'): Driven {
  const runner = recordedRunner(recording, 2);
  const stop = new AbortController();
  const wizard = createWizard({
    runner,
    model: null,
    recommended: null,
    quant: null,
    service: true,
    yes: false,
    now: Date.now,
    signal: stop.signal,
    interrupt: () => stop.abort(new FlashmoeError('ERR_INTERRUPTED', 'interrupted')),
    ...options,
  });
  const when = (wanted: (state: WizardState) => boolean, ...keys: WizardKey[]): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (!wanted(wizard.state())) return;
        unsubscribe();
        for (const key of keys) wizard.key(key);
        resolve();
      };
      const unsubscribe = wizard.subscribe(look);
      look();
    });
  return { wizard, runner, stop, when };
}

const on =
  (screen: WizardState['screen']) =>
  (state: WizardState): boolean =>
    state.screen === screen && state.busy === null;

describe('the wizard', () => {
  test('goes from the machine to the receipt with what was chosen', async () => {
    const { wizard, runner, when } = drive();
    const outcome = wizard.run();
    await when(on('machine'), 'enter');
    await when(on('model'), 'down', 'enter');
    await when(on('quant'), 'down', 'enter');
    await when(on('plan'), 'space', 'enter');
    expect(await outcome).toMatchObject({ kind: 'finished', receipt: { schema: 1 } });
    expect(runner.calls).toEqual([
      'plan qwen3-235b-a22b-instruct-2507 2bit service',
      'start qwen3-235b-a22b-instruct-2507 2bit alone',
    ]);
  });

  test('escape goes back a screen and the choice can change', async () => {
    const { wizard, runner, when } = drive();
    const outcome = wizard.run();
    await when(on('machine'), 'enter');
    await when(on('model'), 'enter');
    await when(on('quant'), 'down', 'enter');
    await when(on('plan'), 'escape');
    await when(on('quant'), 'up', 'enter');
    await when(on('plan'), 'q');
    expect(await outcome).toEqual({ kind: 'quit', begun: false, choice: null });
    expect(runner.calls.map((call) => call.split(' ')[2])).toEqual(['2bit', '4bit']);
  });

  test('a model that cannot run here cannot be chosen', async () => {
    const { wizard, when } = drive();
    const outcome = wizard.run();
    await when(on('machine'), 'enter');
    await when(on('model'), 'down', 'down', 'down', 'down', 'enter');
    expect(wizard.state().screen).toBe('model');
    wizard.key('q');
    expect(await outcome).toMatchObject({ kind: 'quit', begun: false });
  });

  test('what the command line gave is not asked again', async () => {
    const { wizard, runner, when } = drive({ model: 'tiny', quant: '2bit', service: null });
    const outcome = wizard.run();
    await when(on('machine'), 'enter');
    await when(on('plan'), 'enter');
    await outcome;
    expect(runner.calls).toEqual(['plan tiny 2bit alone', 'start tiny 2bit alone']);
  });

  test('with --yes nothing is asked', async () => {
    const { wizard, runner } = drive({ model: 'tiny', yes: true });
    expect(await wizard.run()).toMatchObject({ kind: 'finished' });
    expect(runner.calls).toEqual(['plan tiny 4bit service', 'start tiny 4bit service']);
  });

  test('a plan that cannot be made is shown, and the way back stays open', async () => {
    const { wizard, runner, when } = drive({ quant: '4bit' });
    runner.plan = () =>
      Promise.reject(new FlashmoeError('ERR_AUTH', 'the repository is gated', { hint: 'log in' }));
    const outcome = wizard.run();
    await when(on('machine'), 'enter');
    await when(on('model'), 'enter');
    await when((state) => state.problem !== null, 'enter', 'escape');
    await when(on('model'), 'q');
    expect(await outcome).toMatchObject({ kind: 'quit', begun: false });
  });

  test('p pauses and goes on, and the wait is visible in between', async () => {
    const { wizard, runner, when } = drive({ model: 'tiny', yes: true });
    const outcome = wizard.run();
    await when((state) => state.run.fetch.done > 0, 'p');
    await when((state) => state.run.waiting !== null);
    expect(wizard.state().run.waiting?.reason).toBe('paused by you');
    expect(wizard.state().paused).toBe(true);
    wizard.key('p');
    expect(await outcome).toMatchObject({ kind: 'finished' });
    expect(runner.calls.filter((call) => /pause|resume/.test(call))).toEqual(['pause', 'resume']);
  });

  test('q stops the run and says that it had begun', async () => {
    const { wizard, when } = drive({ model: 'tiny', yes: true });
    const outcome = wizard.run();
    await when((state) => state.run.fetch.done > 0, 'q');
    expect(await outcome).toMatchObject({ kind: 'quit', begun: true, choice: { model: 'tiny' } });
  });

  test('b stops this run first and only then starts the one in the background', async () => {
    const { wizard, runner, when } = drive({ model: 'tiny', yes: true });
    const outcome = wizard.run();
    await when((state) => state.run.fetch.done > 0, 'b');
    expect(await outcome).toMatchObject({ kind: 'background', pid: 4242 });
    expect(runner.calls.at(-1)).toBe('background tiny 4bit service');
  });

  test('Ctrl-C in the middle of a run stops it, in the middle of a question leaves', async () => {
    const running = drive({ model: 'tiny', yes: true });
    const outcome = running.wizard.run();
    await running.when((state) => state.run.fetch.done > 0, 'interrupt');
    expect(await outcome).toMatchObject({ kind: 'quit', begun: true });

    const asking = drive();
    const left = asking.wizard.run();
    await asking.when(on('machine'), 'interrupt');
    expect(await left).toMatchObject({ kind: 'quit', begun: false });
  });

  test('a run that fails rejects with its error', async () => {
    const { wizard } = drive({ model: 'tiny', yes: true }, 'failed-hash');
    await expect(wizard.run()).rejects.toMatchObject({ code: 'ERR_HASH' });
  });

  test('views hear of a busy run four times a second at most', async () => {
    const { wizard } = drive({ model: 'tiny', yes: true });
    const outcome = wizard.run();
    let notified = 0;
    const begun = performance.now();
    wizard.subscribe(() => (notified += 1));
    await outcome;
    const seconds = (performance.now() - begun) / 1000;
    // Beside the four: one a second for the clock, and one for each of the few changes of screen.
    expect(notified).toBeLessThanOrEqual(seconds * 5 + 10);
    expect(notified).toBeGreaterThan(0);
  });

  test('takes a repository that is typed, and says what is wrong with one', async () => {
    const { wizard, runner, when } = drive();
    const outcome = wizard.run();
    await when(on('machine'), 'enter');
    await when(on('model'), ...Array<WizardKey>(9).fill('down'), 'up', 'enter');
    await when(on('source'), { text: 'nonsense' }, 'enter');
    await when((state) => state.problem !== null, ...Array<WizardKey>(8).fill('backspace'));
    await when((state) => state.typed === '', { text: 'acme/q' }, 'enter');
    await when(on('quant'), 'enter');
    await when(on('plan'), 'b');
    expect(await outcome).toMatchObject({ kind: 'background', pid: 4242 });
    expect(runner.calls).toEqual([
      'source repo nonsense',
      'source repo acme/q',
      'plan acme--q 4bit service',
      'background acme--q 4bit service',
    ]);
  });

  test('says why a model that cannot run here is not taken', async () => {
    const { wizard, when, stop } = drive();
    const outcome = wizard.run();
    await when(on('machine'), 'enter');
    await when(on('model'), ...Array<WizardKey>(4).fill('down'), 'enter');
    await when((state) => state.refusal !== null);
    expect(wizard.state().refusal).toBe(
      'kimi-k2-instruct does not run here: 77.6 GB of free space missing',
    );
    stop.abort();
    await outcome;
  });

  test('shows its keys until any key is pressed, and does nothing else with that one', async () => {
    const { wizard, when } = drive();
    const outcome = wizard.run();
    await when(on('machine'), 'help');
    await when((state) => state.showsKeys, 'q');
    await when((state) => !state.showsKeys, 'q');
    expect(await outcome).toMatchObject({ kind: 'quit' });
  });
});
