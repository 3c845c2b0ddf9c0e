// Ollama's API: answers, and what models there are. What would fetch, change or delete models is not done here.

import type { AnswerRequest, LoadedModel } from '../../engine/types.js';
import { ApiError } from '../api-error.js';
import { tellOnce, type ServerContext } from '../context.js';
import { respond } from '../generation.js';
import type { InstalledModel } from '../model-host.js';
import { OllamaEncoder } from './encoder.js';
import { chatRequest, generateRequest, keepAliveOf } from './request.js';
import { parseChatBody, parseGenerateBody, parseShowBody } from './schema.js';

export function ollamaChat(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const body = parseChatBody(json, (field) => tellOnce(context, field));
  const unloadAfterMs = keepAliveOf(body);
  if ((body.messages ?? []).length === 0) {
    return loadOnly(context, http, body.model, unloadAfterMs, {
      message: { role: 'assistant', content: '' },
    });
  }
  return answer(context, http, 'chat', body, chatRequest(body), unloadAfterMs);
}

export function ollamaGenerate(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const body = parseGenerateBody(json, (field) => tellOnce(context, field));
  const unloadAfterMs = keepAliveOf(body);
  if ((body.prompt ?? '') === '') {
    return loadOnly(context, http, body.model, unloadAfterMs, { response: '' });
  }
  return answer(context, http, 'generate', body, generateRequest(body), unloadAfterMs);
}

function answer(
  context: ServerContext,
  http: Request,
  kind: 'chat' | 'generate',
  { model, stream }: { model: string; stream?: boolean | null | undefined },
  request: AnswerRequest,
  unloadAfterMs: number | null,
): Promise<Response> {
  const startedAt = context.now();
  const encoder = (): OllamaEncoder => new OllamaEncoder(kind, model, context.now, startedAt);
  return respond(context, http, {
    id: `ollama-${kind}`,
    model,
    requests: [request],
    stream: stream !== false,
    encoder,
    failed: (error) => [`${JSON.stringify({ error: error.message })}\n`],
    streamHeaders: { 'content-type': 'application/x-ndjson' },
    ping: () => encoder().ping(),
    unloadAfterMs,
  });
}

/** A request that says nothing brings the model into memory, or, to be kept for no time, out of it. */
async function loadOnly(
  { host, now }: ServerContext,
  http: Request,
  model: string,
  unloadAfterMs: number | null,
  said: object,
): Promise<Response> {
  const created = { model, created_at: new Date(now()).toISOString() };
  if (unloadAfterMs === 0) {
    host.letGo();
    return Response.json({ ...created, ...said, done: true, done_reason: 'unload' });
  }
  const lease = await host.acquire(model, http.signal);
  lease.release(unloadAfterMs);
  return Response.json({ ...created, ...said, done: true, done_reason: 'load' });
}

export function ollamaVersion({ version }: ServerContext): Response {
  return Response.json({ version });
}

export async function ollamaTags(context: ServerContext): Promise<Response> {
  const models = (await modelsHere(context)).map((model) => ({
    ...entryOf(model),
    modified_at: new Date(model.since).toISOString(),
  }));
  return Response.json({ models });
}

/** What is installed, and what is in memory though no list of installed models has it. */
async function modelsHere({ host, startedAt }: ServerContext): Promise<InstalledModel[]> {
  const installed = [...(await host.installed())];
  if (host.state.status !== 'ready') return installed;
  const { id, quant, denseBytes: bytes } = host.state.engine.model;
  if (installed.some((model) => model.id === id)) return installed;
  return [...installed, { id, quant, bytes, since: startedAt }];
}

/** What is in memory. */
export async function ollamaPs(context: ServerContext): Promise<Response> {
  const { host, now } = context;
  const { state } = host;
  if (state.status !== 'ready') return Response.json({ models: [] });
  const { model } = state.engine;
  const known = (await modelsHere(context)).find(({ id }) => id === model.id);
  if (known === undefined) return Response.json({ models: [] });
  const entry = entryOf(known);
  const expires = host.unloadsAt ?? now() + FAR;
  return Response.json({
    models: [
      {
        ...entry,
        size_vram: 0,
        context_length: model.contextLength,
        expires_at: new Date(expires).toISOString(),
      },
    ],
  });
}

/** Milliseconds: a model that is used, or stays, has no time to go. */
const FAR = 100 * 365 * 24 * 3_600_000;

export async function ollamaShow(
  { host }: ServerContext,
  _: Request,
  json: unknown,
): Promise<Response> {
  const asked = parseShowBody(json);
  const id = asked.replace(/:latest$/, '');
  const { state } = host;
  const loaded: LoadedModel | null = state.status === 'ready' ? state.engine.model : null;
  const found = (await host.installed()).find((model) => model.id === id);
  if (found === undefined && loaded?.id !== id) {
    throw new ApiError(404, `model '${asked}' not found`, { code: 'model_not_found' });
  }
  const quant = found?.quant ?? loaded?.quant ?? '';
  return Response.json({
    modelfile: '',
    parameters: '',
    template: '',
    details: detailsOf(quant),
    model_info: {
      'general.architecture': 'moe',
      ...(loaded?.id === id ? { 'moe.context_length': loaded.contextLength } : {}),
    },
    capabilities: ['completion', 'tools', 'thinking'],
  });
}

/** Models come and go by `flashmoe setup` and `flashmoe rm`. */
export function ollamaRefusal(): Response {
  throw new ApiError(
    501,
    'this server does not fetch, make, copy, delete or embed; see flashmoe setup',
    {
      type: 'not_supported_error',
    },
  );
}

function entryOf({ id, quant, bytes }: InstalledModel): object {
  const name = `${id}:latest`;
  return { name, model: name, size: bytes, digest: '', details: detailsOf(quant) };
}

function detailsOf(quant: string): object {
  return {
    parent_model: '',
    format: 'flashmoe',
    family: 'moe',
    families: ['moe'],
    parameter_size: '',
    quantization_level: quant,
  };
}
