// flashmoe connect: a client's own configuration, written or printed, for the server of this machine.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import type { Client, ServerFacts } from '../../connect/client.js';
import { planConnection, writeConnection } from '../../connect/connect.js';
import { snippet } from '../../connect/merge.js';
import { CLIENTS } from '../../connect/registry.js';
import { DEFAULT_HOST, DEFAULT_PORT } from '../../server/serve.js';
import type { CliContext } from '../context.js';
import { chooseInstalled } from '../../application/installed.js';
import { readSettings } from '../../settings/file.js';

export interface ConnectArgs {
  client: string;
  model: string | null;
  port: number | null;
  dryRun: boolean;
}

export async function connect(context: CliContext, args: ConnectArgs): Promise<number> {
  const client = CLIENTS.find(({ id }) => id === args.client);
  if (client === undefined) {
    const known = CLIENTS.map(({ id }) => id).join(', ');
    throw new FlashmoeError('ERR_USAGE', `${args.client} is not a client that is known here`, {
      hint: `one of ${known}`,
    });
  }
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
  const changed = plan.text !== null;
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
}

/** What the running server says of itself, else what it would say. */
async function serverFacts(
  context: CliContext,
  args: ConnectArgs,
): Promise<{ facts: ServerFacts; isRunning: boolean }> {
  const settings = await readSettings(context.home.settings);
  const root = `http://${DEFAULT_HOST}:${args.port ?? settings.port ?? DEFAULT_PORT}`;
  const models = args.model === null ? await listed(root, context.signal) : null;
  const hasKey = (context.host.env['FLASHMOE_API_KEY'] ?? '') !== '';
  const own = models?.find(({ owned_by: owner, id }) => owner === 'flashmoe' && id !== 'auto');
  if (models !== null && own !== undefined) {
    const contextLength = own.context_length ?? UNKNOWN_CONTEXT;
    const hasFast = models.some(({ id }) => id === 'fast');
    return { facts: { root, modelId: own.id, contextLength, hasKey, hasFast }, isRunning: true };
  }
  const { id } = await chooseInstalled(context, args.model);
  const hasFast = (settings.fastUpstream ?? '') !== '';
  const facts = { root, modelId: id, contextLength: UNKNOWN_CONTEXT, hasKey, hasFast };
  return { facts, isRunning: models !== null };
}

/** Tokens that every catalogued model has room for, when the server can't be asked. */
const UNKNOWN_CONTEXT = 65_536;

interface Listed {
  id: string;
  owned_by: string;
  context_length: number | null;
}

/** Null when nothing of ours answers there. */
async function listed(root: string, signal: AbortSignal): Promise<Listed[] | null> {
  const patience = AbortSignal.any([signal, AbortSignal.timeout(3000)]);
  const response = await fetch(`${root}/v1/models`, { signal: patience }).catch(() => null);
  if (response?.ok !== true) return null;
  const body = (await response.json().catch(() => null)) as { data?: Listed[] } | null;
  return Array.isArray(body?.data) ? body.data : null;
}
