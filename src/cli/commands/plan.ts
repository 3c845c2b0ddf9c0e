// flashmoe plan [MODEL]: the contract, from listing and headers alone. Changes nothing.

import { EXIT } from '../../base/errors.js';
import type { InstallEvent } from '../../jobs/events.js';
import type { Quant } from '../../models/quant.js';
import { openSetup } from '../../installer/setup.js';
import { planText } from '../../ui/plan-view.js';
import { retryText } from '../../ui/progress.js';
import { shareOf, withCarried, type CarriedArgs } from '../carried.js';
import { commandLine } from '../command-line.js';
import type { CliContext } from '../context.js';
import { recommend } from '../model-choices.js';
import { lookAround, setupRequest, setupWorld } from '../setup-parts.js';
import { setupWords, requireTarget } from '../target.js';

export interface PlanArgs extends CarriedArgs {
  quant: Quant | null;
  size: number | null;
  /** Absolute path. */
  calibration: string | null;
}

export async function plan(context: CliContext, typed: PlanArgs): Promise<number> {
  const args = await withCarried(context, typed);
  const model = args.model ?? (args.repo === null ? await recommend(context) : null);
  const target = requireTarget({ ...args, model });
  const quant = args.quant ?? '4bit';
  const around = await lookAround(context);
  const words = setupWords({
    ...args,
    model: target.model,
    ...{
      service: true,
      limits: {},
      deadline: null,
      overnight: false,
      keepSource: false,
      yes: false,
      json: false,
      home: context.homeOption,
    },
  });
  const command = commandLine(words);
  const tell = (message: string): void => {
    if (context.json) context.emit('notice', { message });
    else context.note(message);
  };
  if (!target.bundled) around.notices.forEach(tell);
  const setup = await openSetup(
    setupRequest(
      target,
      quant,
      {
        ...{ from: args.from, share: shareOf(args.from, context.host.env) },
        ...{ size: args.size, calibration: args.calibration, resumeCommand: command },
        ...{ limits: {}, deadline: null, yes: false, keepSource: false },
      },
      null,
    ),
    setupWorld(
      context,
      around,
      () => false,
      () => Promise.resolve(),
    ),
    {
      emit: (event: InstallEvent) => {
        if (event.type === 'notice') tell(event.message);
        if (event.type === 'retry') tell(`${retryText(event)}; try ${event.attempt}`);
      },
      signal: context.signal,
    },
  );
  try {
    const { summary } = setup.plan;
    if (context.json) {
      context.emit('plan', { plan: summary });
    } else {
      context.print(planText(summary));
      context.note(`\n${command} provisions it`);
    }
    return EXIT.done;
  } finally {
    await setup.close();
  }
}
