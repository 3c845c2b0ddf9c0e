// flashmoe connect: a client's own configuration, written or printed, for the server of this machine.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import type { Client, ServerFacts } from '../../connect/client.js';
import { planConnection, writeConnection } from '../../connect/connect.js';
import { snippet } from '../../connect/merge.js';
import { clientOf } from '../../connect/registry.js';
import type { CliContext } from '../context.js';
import { serverFacts } from '../../application/server-facts.js';

export interface ConnectArgs {
  client: string;
  model: string | null;
  port: number | null;
  dryRun: boolean;
}

export async function connect(context: CliContext, args: ConnectArgs): Promise<number> {
  const client = clientOf(args.client);
  const { facts, isRunning } = await serverFacts(context, args);
  const { homeDirectory, env } = context.host;
  const places = { homeDirectory, env };
  if (args.dryRun) return printed(context, client, facts, isRunning);
  const plan = await planConnection(client, facts, places).catch((error: unknown) => {
    // What can't be merged for them, people merge themselves.
    const isTheirs = error instanceof FlashmoeError && error.code === 'ERR_CLIENT_CONFIG';
    if (isTheirs && !context.json) printed(context, client, facts, isRunning);
    throw error;
  });
  const stamp = new Date(context.host.now()).toISOString().replace(/[:.]/g, '-');
  const backup = await writeConnection(plan, stamp);
  const next = client.next(facts);
  const { path } = plan;
  const changed = plan.text !== null || plan.ownFiles.length > 0;
  if (context.json) {
    const { snippet: settings } = plan;
    context.emit('connect', { client: client.id, path, changed, backup, settings, next, ...facts });
    return EXIT.done;
  }
  if (path === null) {
    for (const line of next) context.print(line);
  } else {
    const { ok } = context.style.glyph;
    const done = changed ? 'wrote' : 'nothing to change in';
    context.print(`${context.style.good(ok)} ${client.name}: ${done} ${path}`);
    if (backup !== null) context.print(`  what it was before: ${backup}`);
    for (const own of plan.ownFiles) context.print(`  beside it: ${own.path}`);
    for (const line of next) context.print(`  now: ${line}`);
  }
  tell(context, facts, isRunning);
  return EXIT.done;
}

/** The settings alone: the file may hold other keys, which are nobody's business on a screen. */
function printed(
  context: CliContext,
  client: Client,
  facts: ServerFacts,
  isRunning: boolean,
): number {
  const { homeDirectory, env } = context.host;
  const path = client.file?.paths({ homeDirectory, env })[0] ?? null;
  const settings = snippet(client.file?.format ?? 'json', client.settings(facts));
  const next = client.next(facts);
  if (context.json) {
    const dry = { dryRun: true, changed: false, backup: null };
    context.emit('connect', { client: client.id, path, ...dry, settings, next, ...facts });
    return EXIT.done;
  }
  context.note(path === null ? `${client.name} is told when it starts` : `into ${path}`);
  context.print(path === null ? next.join('\n') : settings.trimEnd());
  for (const own of client.ownFiles?.(facts) ?? []) {
    context.note(`beside it ${own.name}, which the settings name`);
  }
  tell(context, facts, isRunning);
  return EXIT.done;
}

function tell(context: CliContext, facts: ServerFacts, isRunning: boolean): void {
  if (facts.hasKey) context.note('the client reads the key from FLASHMOE_API_KEY');
  if (!isRunning) {
    context.note(
      `nothing answers at ${facts.root} yet: flashmoe serve, or flashmoe service install`,
    );
  }
  if (facts.isGuess) {
    context.note(
      `the context of ${facts.modelId} is not known while no server has it in memory; the settings go by ${facts.contextLength} tokens: ask again when it answers`,
    );
  }
}
