// flashmoe plan [MODEL]: the contract, from listing and headers alone. Changes nothing.

import { EXIT } from '../../base/errors.js';
import type { InstallEvent } from '../../jobs/events.js';
import { openSetup } from '../../installer/setup.js';
import { planText } from '../../ui/plan-view.js';
import { wrapText } from '../../ui/table.js';
import { retryText } from '../../jobs/progress.js';
import { shareOf, withSource } from '../../application/source.js';
import { commandLine } from '../../application/command-line.js';
import type { CliContext } from '../context.js';
import { memoryPlanLine } from '../memory-plan-line.js';
import { planMemory } from '../../models/memory-plan.js';
import { memoryOfSpec } from '../../models/model-memory.js';
import { recommend } from '../../application/model-choices.js';
import { lookAround, setupRequest, setupContext } from '../../application/setup-request.js';
import { withNamed } from '../../application/named-here.js';
import { withNothingSaid } from '../../settings/option.js';
import {
  setupArguments,
  setupOptions,
  type CheckpointOptions,
} from '../../settings/setup-options.js';
import { requireTarget } from '../../application/target.js';

export async function plan(context: CliContext, typed: CheckpointOptions): Promise<number> {
  const args = await withSource(context, await withNamed(context, typed));
  const model = args.model ?? (args.repo === null ? await recommend(context) : null);
  const target = requireTarget({ ...args, model });
  const quant = args.quant ?? '4bit';
  const around = await lookAround(context);
  const options = { ...withNothingSaid(setupOptions), ...args, model: target.model };
  const command = commandLine(setupArguments({ ...options, json: null, home: context.homeOption }));
  const tell = (message: string): void => {
    if (context.json) context.emit('notice', { message });
    else context.note(message);
  };
  if (!target.bundled) around.notices.forEach(tell);
  const setup = await openSetup(
    {
      ...setupRequest(target, quant, options, {
        share: shareOf(args.from, context.host.env),
        resumeCommand: command,
      }),
      planOnly: true,
    },
    setupContext(
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
    const { summary, stored } = setup.plan;
    const { dense, layouts, layers, spec } = stored.pack;
    const model = memoryOfSpec(spec, { denseBytes: dense.size, layouts, layers });
    const { memoryBytes } = context.host;
    // Of what others hold now nothing follows for the night on which the model answers.
    const memory = planMemory(model, { memoryBytes, availableBytes: null, workingSetBytes: null });
    if (context.json) {
      context.emit('plan', { plan: summary, memory });
    } else {
      context.print(planText(summary, context.width));
      for (const line of wrapText(memoryPlanLine(memory), context.width)) context.print(line);
      const isHere = setup.plan.state.finished;
      context.note(
        isHere ? '\nit is here already: nothing is left to do' : `\n${command} provisions it`,
      );
    }
    return EXIT.done;
  } finally {
    await setup.close();
  }
}
