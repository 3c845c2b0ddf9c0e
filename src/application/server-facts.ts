// What clients are told of the server of this machine: what a running one says of itself, else what it would say.

import type { ServerFacts } from '../connect/client.js';
import { DEFAULT_HOST, DEFAULT_PORT } from '../server/serve.js';
import { readSettings } from '../settings/file.js';
import type { AppContext } from './context.js';
import { chooseInstalled } from './installed.js';

/** Tokens that every catalogued model has room for. */
const UNKNOWN_CONTEXT = 65_536;

/** @param wish null: what the server has, and its port that of the settings */
export async function serverFacts(
  context: AppContext,
  wish: { model: string | null; port: number | null },
): Promise<{ facts: ServerFacts; isRunning: boolean }> {
  const settings = await readSettings(context.home.settings);
  const root = `http://${DEFAULT_HOST}:${wish.port ?? settings.port ?? DEFAULT_PORT}`;
  const models = await listed(root, context.signal);
  const hasKey = (context.host.env['FLASHMOE_API_KEY'] ?? '') !== '';
  const ours = models?.filter(({ owned_by: owner, id }) => owner === 'flashmoe' && id !== 'auto');
  const [first] = ours ?? [];
  const modelId =
    wish.model === null && first !== undefined
      ? first.id
      : (ours?.find(({ id }) => id === wish.model)?.id ??
        (await chooseInstalled(context, wish.model)).id);
  const known = ours?.find(({ id }) => id === modelId)?.context_length ?? null;
  const hasFast =
    models === null ? (settings.fastUpstream ?? '') !== '' : models.some(({ id }) => id === 'fast');
  const contextLength = known ?? UNKNOWN_CONTEXT;
  const facts = { root, modelId, contextLength, isGuess: known === null, hasKey, hasFast };
  return { facts, isRunning: models !== null };
}

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
