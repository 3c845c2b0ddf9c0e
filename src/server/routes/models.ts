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
}

/** Lists the configured model also while it loads: clients look here before they send anything. */
export async function listModels(context: ServerContext): Promise<Response> {
  const entry = modelEntry(context);
  const further = await furtherNames(context);
  return Response.json({ object: 'list', data: [...(entry === null ? [] : [entry]), ...further] });
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
  }));
}

/** @param id decoded; ids may hold slashes */
export async function getModel(context: ServerContext, id: string): Promise<Response> {
  const all = [modelEntry(context), ...(await furtherNames(context))];
  const entry = all.find((candidate) => candidate?.id === id) ?? null;
  if (entry === null) {
    throw new ApiError(404, `there is no model ${id} here`, {
      type: 'invalid_request_error',
      param: 'model',
      code: 'model_not_found',
    });
  }
  return Response.json(entry);
}

function modelEntry({ host }: ServerContext): ModelEntry | null {
  const { state } = host;
  const id = state.status === 'ready' ? state.engine.model.id : host.id;
  if (id === null || state.status === 'failed') return null;
  const length = state.status === 'ready' ? state.engine.model.contextLength : null;
  return {
    id,
    object: 'model',
    created: CREATED,
    owned_by: 'flashmoe',
    context_length: length,
    max_model_len: length,
  };
}
