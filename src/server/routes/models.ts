import { ApiError } from '../api-error.js';
import type { ServerContext } from '../context.js';

/** Seconds since the epoch: clients want a number, and a local model has no date of birth. */
const CREATED = 0;

interface ModelEntry {
  id: string;
  object: 'model';
  created: number;
  owned_by: string;
  context_length: number | null;
  max_model_len: number | null;
  /** In memory now; another one that is installed is loaded when a request names it. */
  loaded: boolean;
}

/** Lists the models also while one loads: clients look here before they send anything. */
export async function listModels(context: ServerContext, http: Request): Promise<Response> {
  const all = [...(await localModels(context)), ...(await furtherNames(context))];
  if (!isAnthropic(http)) return Response.json({ object: 'list', data: all });
  return Response.json({
    data: all.map(anthropicModel),
    has_more: false,
    first_id: all[0]?.id ?? null,
    last_id: all.at(-1)?.id ?? null,
  });
}

/** Its clients say so with every request. */
function isAnthropic(http: Request): boolean {
  return http.headers.has('anthropic-version');
}

function anthropicModel({ id, context_length: context }: ModelEntry): object {
  return {
    type: 'model',
    id,
    display_name: id,
    created_at: new Date(CREATED * 1000).toISOString(),
    ...(context === null ? {} : { max_input_tokens: context }),
  };
}

/** With two tiers: names that the rules go by. */
async function furtherNames({ fast }: ServerContext): Promise<ModelEntry[]> {
  const models = (await fast?.models()) ?? null;
  if (fast === null) return [];
  const names = ['auto', ...(models === null ? [] : ['fast', ...models.all])];
  return names.map((id) => ({
    id,
    object: 'model',
    created: CREATED,
    owned_by: id === 'auto' ? 'flashmoe' : 'fast upstream',
    context_length: null,
    max_model_len: null,
    loaded: false,
  }));
}

/** @param id decoded; ids may hold slashes */
export async function getModel(
  context: ServerContext,
  http: Request,
  id: string,
): Promise<Response> {
  const all = [...(await localModels(context)), ...(await furtherNames(context))];
  const entry = all.find((candidate) => candidate.id === id) ?? null;
  if (entry === null) {
    throw new ApiError(404, `there is no model ${id} here`, {
      type: 'invalid_request_error',
      param: 'model',
      code: 'model_not_found',
    });
  }
  return Response.json(isAnthropic(http) ? anthropicModel(entry) : entry);
}

/** The default first. */
async function localModels({ host }: ServerContext): Promise<ModelEntry[]> {
  const { state } = host;
  const loaded = state.status === 'ready' ? state.engine.model : null;
  const failed = state.status === 'failed' ? state.id : null;
  const installed = (await host.installed()).map(({ id }) => id);
  // The engine's own name of what is loaded.
  const first = state.status === 'ready' && state.id === host.id ? state.engine.model.id : host.id;
  const known = new Set([first, loaded?.id ?? null, ...installed]);
  return [...known]
    .filter((id): id is string => id !== null && id !== failed)
    .map((id) => {
      const length = host.contextLength(id);
      return {
        id,
        object: 'model',
        created: CREATED,
        owned_by: 'flashmoe',
        context_length: length,
        max_model_len: length,
        loaded: id === loaded?.id,
      };
    });
}
