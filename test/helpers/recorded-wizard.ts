// A program: the wizard on this terminal, playing a recording. Arguments: recording, milliseconds a step.
import { EXIT, FlashmoeError } from '../../src/base/errors.js';
import { runOnTerminal } from '../../src/ui/ink/mount.js';
import { plainStyle } from '../../src/ui/style.js';
import { createWizard } from '../../src/ui/wizard.js';
import { recordedRunner } from './recorded-runner.js';

const [recording = 'setup-2bit', step = '20'] = process.argv.slice(2);
const stop = new AbortController();
const runner = recordedRunner(recording, Number(step));
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
});
try {
  const { stdin, stdout, stderr } = process;
  const style = plainStyle({ color: true, unicode: true });
  const outcome = await runOnTerminal(wizard, { stdin, stdout, stderr }, style);
  console.log(`outcome: ${outcome.kind}`);
  process.exitCode = outcome.kind === 'quit' ? EXIT.interrupted : EXIT.done;
} catch (error) {
  console.log(`failed: ${(error as Error).message}`);
  process.exitCode = EXIT.failed;
}
