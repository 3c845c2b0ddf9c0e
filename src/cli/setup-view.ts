// How a run of a setup is shown and how its outcome is told, whether it is ours or another process's.

import { EXIT } from '../base/errors.js';
import type { InstallEvent } from '../jobs/events.js';
import type { Receipt } from '../store/receipt.js';
import { ndjsonSink } from '../ui/ndjson.js';
import { plainSink } from '../ui/plain.js';
import { receiptText } from '../ui/receipt-view.js';
import type { EmitAt, RunningSetup, StartTask } from '../application/setup-runner.js';
import { createAttachedView, type Wizard, type WizardOutcome } from '../ui/wizard.js';
import type { CliContext } from './context.js';
import { attachedRun, follow, type Job } from '../application/job.js';

/** How often a run that says nothing of itself is asked what it is at. */
const TICK_MS = 1000;

/** Plain lines or NDJSON, without result and failure: both are told last, when everything else is settled. */
export function createSink(context: CliContext): EmitAt {
  let at: number | undefined;
  const now = (): number => at ?? context.host.now();
  // What happened before we came makes the view, but it is no news.
  const note = (line: string): void => {
    if (at === undefined || context.host.now() - at < 2_000) context.note(line);
  };
  if (context.json) {
    const sink = ndjsonSink({ write: (line) => context.print(line), now });
    return (event: InstallEvent, when?: number) => {
      at = when;
      if (event.type !== 'finished' && event.type !== 'failed') sink(event);
    };
  }
  const sink = plainSink({ write: note, now, style: context.noteStyle });
  const ticking = setInterval(() => {
    at = undefined;
    sink.tick();
  }, TICK_MS);
  ticking.unref();
  return (event: InstallEvent, when?: number) => {
    at = when;
    if (event.type === 'finished' || event.type === 'failed') clearInterval(ticking);
    else sink(event);
  };
}

/** Runs a view on this terminal to its outcome. */
export async function onTerminal(context: CliContext, wizard: Wizard): Promise<WizardOutcome> {
  // chalk, below Ink, has its own idea of when to colour; ours was decided already.
  process.env['FORCE_COLOR'] = context.color.stdout ? (process.env['FORCE_COLOR'] ?? '1') : '0';
  const { runOnTerminal } = await import('../ui/ink/mount.js');
  const { stdin, stdout, stderr } = context;
  return await runOnTerminal(wizard, { stdin, stdout, stderr }, context.style);
}

/** A running setup of another process, as this run's output mode shows it; its exit status is that run's. */
export async function showJob(context: CliContext, { id, connection }: Job): Promise<number> {
  const { signal, host } = context;
  const start = (task: StartTask): RunningSetup =>
    attachedRun(connection, follow(connection, task));
  if (context.outputMode === 'ink') {
    const interrupt = (): void => context.interruption.interrupt();
    const wizard = createAttachedView(start, { now: () => host.now(), signal, interrupt });
    return outcome(context, await onTerminal(context, wizard));
  }
  const sink = createSink(context);
  const { pid } = connection.owner;
  const message = `${id} is being set up by process ${pid ?? ''}; this is its view, and leaving it doesn't stop it`;
  sink({ type: 'notice', message });
  return finish(context, await start({ emit: sink, signal, attached: () => undefined }).done);
}

export function outcome(context: CliContext, result: WizardOutcome): number {
  switch (result.kind) {
    case 'finished':
      return finish(context, result.receipt);
    case 'background':
      context.print(`going on in the background as process ${result.pid}, log ${result.log}`);
      context.print('how far it is: flashmoe status; to watch it: flashmoe attach');
      return EXIT.done;
    case 'left':
      context.print(`the setup goes on in process ${result.pid ?? ''}`);
      context.print('to come back: flashmoe attach; to end it: flashmoe stop');
      // Whatever comes after this command in a script must not take the model for ready.
      return context.interruption.status() ?? EXIT.interrupted;
    case 'quit': {
      const how = context.interruption.status() ?? EXIT.interrupted;
      context.note(
        result.begun
          ? `stopped; everything that was finished is kept\n\nhint: run \`${context.resumeCommand ?? 'flashmoe setup'}\` to go on`
          : 'nothing was changed',
      );
      return how;
    }
  }
}

export function finish(context: CliContext, receipt: Receipt): number {
  if (context.json) {
    context.emit('finished', { receipt });
    return EXIT.done;
  }
  context.print(`${context.style.good(context.style.glyph.ok)} ${receipt.model} answers`);
  context.print('');
  context.print(receiptText(receipt, context.width));
  context.note('');
  context.note('next: flashmoe run "Why is the sky blue?", or flashmoe serve');
  return EXIT.done;
}
