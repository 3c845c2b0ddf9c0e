// flashmoe requantise MODEL: another width from the layer files that are here.

import { FlashmoeError } from '../../base/errors.js';
import { commandLine } from '../../application/command-line.js';
import { requantiseRequest, type RequantiseChoice } from '../../application/requantise.js';
import { lookAround, settleDefault, setupContext } from '../../application/setup-request.js';
import { isBundled } from '../../application/target.js';
import { openSetup } from '../../installer/setup.js';
import { Controls } from '../../jobs/controls.js';
import { keepAwake } from '../../machine/awake.js';
import type { CliContext } from '../context.js';
import { createSink, finish } from '../setup-view.js';

export type RequantiseArgs = Omit<RequantiseChoice, 'quant'> & {
  quant: RequantiseChoice['quant'] | null;
};

export async function requantise(context: CliContext, args: RequantiseArgs): Promise<number> {
  const { quant } = args;
  if (quant === null) {
    throw new FlashmoeError('ERR_USAGE', 'no width was named', {
      hint: 'add --quant 3bit or 2bit, or --size',
      subject: '--quant',
    });
  }
  const { host, signal } = context;
  const request = await requantiseRequest(context, { ...args, quant });
  context.resumeCommand = request.resumeCommand;
  const { model, repo, revision, madeOf } = request;
  const around = await lookAround(context);
  const target = { model, repo, revision, bundled: isBundled(repo) };
  const emit = createSink(context);
  const settle = (): Promise<string | null> => settleDefault(context, target, quant);
  const forSetup = setupContext(context, around, () => false, settle);
  const setup = await openSetup(request, forSetup, { emit, signal });
  const awake = await keepAwake(host, 'a width of a model is being made');
  try {
    if (args.inPlace && madeOf) {
      const lost = `${madeOf.paths.root}: the width that is here goes layer by layer and is lost`;
      const back = commandLine(['setup', ...(target.bundled ? [model] : ['--repo', repo])]);
      emit({ type: 'notice', message: `${lost}; \`${back}\` would fetch it again` });
    }
    const receipt = await setup.run({ emit, signal, controls: new Controls() });
    const message = await settle();
    if (message !== null) emit({ type: 'notice', message });
    return finish(context, receipt);
  } finally {
    awake?.release();
    await setup.close();
  }
}
