// flashmoe update [MODEL]: what moved in its repository, then exactly that.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatBytesBoth } from '../../base/format.js';
import { ASK_ABOVE_BYTES } from '../../application/agreement.js';
import { commandLine } from '../../application/command-line.js';
import { openUpdate, type Update } from '../../application/update.js';
import type { PlannedUpdate } from '../../installer/update.js';
import { Controls } from '../../jobs/controls.js';
import type { CliContext } from '../context.js';
import { createSink } from '../setup-view.js';

export interface UpdateArgs {
  /** null: the one that answers when none is named. */
  model: string | null;
  dryRun: boolean;
  yes: boolean;
}

export async function update(
  context: CliContext,
  { model, dryRun, yes }: UpdateArgs,
): Promise<number> {
  const { signal } = context;
  const sink = createSink(context);
  const found = await openUpdate(context, model, {
    signal,
    // Of the plan only what needs to be known: the rest is told below.
    emit: (event) => {
      if (event.type === 'notice' || event.type === 'retry') sink(event);
    },
  });
  const { id, manifest } = found.installed;
  const { planned } = found;
  if (planned === null || isNothing(planned)) {
    tellNothing(context, found);
    return EXIT.done;
  }
  const bytes = planned.summary.downloadBytes - planned.summary.doneBytes;
  tell(context, found, planned, bytes);
  if (dryRun) return EXIT.done;
  if (bytes > ASK_ABOVE_BYTES && !yes) {
    throw new FlashmoeError(
      'ERR_CONFIRM_NEEDED',
      `${formatBytesBoth(bytes)} to download; nothing was written`,
      { hint: `\`${commandLine(['update', id, '--yes'])}\` agrees to that` },
    );
  }
  context.resumeCommand = commandLine(['update', id, '--yes']);
  const receipt = await found.run(planned, { emit: sink, signal, controls: new Controls() });
  if (context.json) {
    context.emit('updated', { id, before: manifest.commit, receipt });
    return EXIT.done;
  }
  const { style } = context;
  const fetched = formatBytes(receipt.downloadedBytes);
  context.print(
    `${style.good(style.glyph.ok)} ${id} is at ${receipt.commit.slice(0, 12)} now and answers; ${fetched} fetched`,
  );
  context.note(
    'a server that has the old one in memory answers with it until it starts again: flashmoe service restart',
  );
  return EXIT.done;
}

/** The commit moved, and no file that the model is made from is another one. */
function isNothing({ changes: { changed, added, gone } }: PlannedUpdate): boolean {
  return changed.length + added.length + gone.length === 0;
}

function tellNothing(context: CliContext, { installed, planned }: Update): void {
  const { id, manifest } = installed;
  const { repo, revision, commit } = manifest;
  if (context.json) {
    const now = planned?.commits.now ?? commit;
    context.emit('update', { id, repo, revision, before: commit, now, downloadBytes: 0 });
    return;
  }
  const at = `${revision} of ${repo}`;
  context.print(
    planned === null
      ? `${id} is up to date: ${at} is at ${commit.slice(0, 12)}`
      : `${id} is up to date: ${at} moved to ${planned.commits.now.slice(0, 12)}, and no file of the model changed`,
  );
}

function tell(
  context: CliContext,
  { installed: { id, manifest } }: Update,
  { commits, changes, summary }: PlannedUpdate,
  bytes: number,
): void {
  const { repo, revision } = manifest;
  if (context.json) {
    const { finalBytes, neededBytes, freeBytes } = summary;
    const moved = { id, repo, revision, ...commits, ...changes };
    context.emit('update', { ...moved, downloadBytes: bytes, finalBytes, neededBytes, freeBytes });
    return;
  }
  context.print(
    `${id}: ${revision} of ${repo} moved from ${commits.before.slice(0, 12)} to ${commits.now.slice(0, 12)}`,
  );
  const rows = [
    ['changed', namesOf(changes.changed)],
    ['new', namesOf(changes.added)],
    ['gone', namesOf(changes.gone)],
    ['weights', weights(changes, summary.layers)],
    ['to fetch', formatBytesBoth(bytes)],
    ...(summary.neededBytes === undefined
      ? []
      : [
          [
            'free space',
            `${formatBytes(summary.neededBytes)} needed, ${formatBytes(summary.freeBytes)} there`,
          ],
        ]),
  ].filter(([, text]) => text !== '');
  for (const [what = '', text = ''] of rows) context.print(`  ${what.padEnd(12)}${text}`);
  context.note('the one that is here answers until the new one has answered');
}

const SHOWN = 5;

function namesOf(paths: readonly string[]): string {
  const more = paths.length - SHOWN;
  return paths.slice(0, SHOWN).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

function weights({ layers, dense, denseShards }: PlannedUpdate['changes'], all: number): string {
  const anew = all - layers.length;
  if (anew === 0 && dense) return 'the same';
  const parts = [
    ...(anew === 0 ? [] : [`${anew} of ${all} layers`]),
    ...(dense
      ? []
      : [denseShards.length === 0 ? 'the dense weights' : 'a part of the dense weights']),
  ];
  return `${parts.join(' and ')} made anew`;
}
