// Who answers a conversation: the running server, or an engine in this process.

import type { ChatBackend } from '../chat/backend.js';
import { engineBackend } from '../chat/engine-backend.js';
import { findServer } from '../chat/server-backend.js';
import { DEFAULT_PORT } from '../server/serve.js';
import type { EngineOptions } from '../settings/engine-options.js';
import { readSettings } from '../settings/file.js';
import type { AppContext } from './context.js';
import { chooseInstalled, openEngineOf } from './installed.js';

export interface ChatBackendChoice {
  /** null: the model that answers when none is named. */
  model: string | null;
  /** null: as the model says. */
  experts: number | null;
  typed: Partial<EngineOptions>;
}

/**
 * The running server when it has the model that is meant, so that nothing is loaded twice; else an engine here, which the
 * caller closes. What chooseInstalled and openEngineOf throw. `loading` is told the model before an engine opens.
 */
export async function openChatBackend(
  context: AppContext,
  { model, experts, typed }: ChatBackendChoice,
  signal: AbortSignal,
  loading: (id: string) => void,
): Promise<ChatBackend> {
  const { port = DEFAULT_PORT } = await readSettings(context.home.settings);
  const apiKey = context.host.env['FLASHMOE_API_KEY'] || null;
  // A server computes as it was started: on its backend, with its number of experts.
  const isAsServed = experts === null && (typed.backend ?? null) === null;
  const server = isAsServed ? await findServer({ port, apiKey }, model) : null;
  if (server !== null) return server;
  const installed = await chooseInstalled(context, model);
  loading(installed.id);
  const choices = { typed, expertsPerToken: experts, promptCache: { gigabytes: null } };
  return engineBackend(await openEngineOf(context, installed, signal, choices));
}
