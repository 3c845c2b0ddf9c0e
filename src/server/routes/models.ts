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
export function listModels(context: ServerContext): Response {
  const entry = modelEntry(context);
  return Response.json({ object: 'list', data: entry === null ? [] : [entry] });
}

/** @param id decoded; ids may hold slashes */
export function getModel(context: ServerContext, id: string): Response {
  const entry = modelEntry(context);
  if (entry === null || entry.id !== id) {
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
