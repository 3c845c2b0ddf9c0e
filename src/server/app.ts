// The server without sockets: a Request in, a Response out. Knows paths, methods and who may ask; what
// an API's bodies look like is known to its route.

import { randomUUID } from 'node:crypto';
import { anthropicError, ApiError, toApiError } from './api-error.js';
import { readJson } from './body.js';
import type { ServerContext } from './context.js';
import { marked, routed } from './fast/tier.js';
import { Guard, type GuardOptions } from './guard.js';
import { chatCompletions } from './openai/chat/route.js';
import { completions } from './openai/completions/route.js';
import {
  ollamaChat,
  ollamaGenerate,
  ollamaPs,
  ollamaRefusal,
  ollamaShow,
  ollamaTags,
  ollamaVersion,
} from './ollama/route.js';
import { embeddings } from './routes/embeddings.js';
import { health } from './routes/health.js';
import { countMessageTokens, messages } from './anthropic/route.js';
import { metrics } from './routes/metrics.js';
import { getModel, listModels } from './routes/models.js';
import { page } from './routes/page.js';
import { props } from './routes/props.js';
import { getResponse, responses } from './openai/responses/route.js';
import { status } from './routes/status.js';
import { applyTemplate, detokenize, tokenize } from './routes/tokens.js';

export type App = (request: Request) => Promise<Response>;

/** Whose form an error has. */
type Dialect = 'openai' | 'anthropic' | 'ollama';

interface GetRoute {
  method: 'GET';
  path: RegExp;
  /** Answers without a key: says nothing that a listener on the port doesn't tell anyway. */
  isPublic?: true;
  handle(context: ServerContext, request: Request, match: string): Response | Promise<Response>;
}

interface PostRoute {
  method: 'POST' | 'DELETE';
  path: RegExp;
  isPublic?: never;
  /** Of two tiers, the other one may answer. */
  hasTiers?: true;
  handle(context: ServerContext, request: Request, body: unknown): Response | Promise<Response>;
}

type Route = GetRoute | PostRoute;

const ROUTES: Route[] = [
  {
    method: 'GET',
    path: /^\/$/,
    isPublic: true,
    handle: (context, http) => page(context, http, ''),
  },
  { method: 'GET', path: /^\/page\/([a-z.]+)$/, isPublic: true, handle: page },
  { method: 'GET', path: /^\/health$/, isPublic: true, handle: health },
  { method: 'GET', path: /^(?:\/v1)?\/models$/, isPublic: true, handle: listModels },
  {
    method: 'GET',
    path: /^(?:\/v1)?\/models\/(.+)$/,
    isPublic: true,
    handle: getModel,
  },
  {
    method: 'GET',
    path: /^(?:\/v1)?\/responses\/([\w-]+)$/,
    handle: getResponse,
  },
  { method: 'GET', path: /^\/metrics$/, handle: metrics },
  { method: 'GET', path: /^\/status$/, handle: status },
  { method: 'GET', path: /^\/props$/, handle: props },
  {
    method: 'POST',
    path: /^(?:\/v1)?\/chat\/completions$/,
    hasTiers: true,
    handle: chatCompletions,
  },
  { method: 'POST', path: /^(?:\/v1)?\/completions$/, hasTiers: true, handle: completions },
  { method: 'POST', path: /^(?:\/v1)?\/responses$/, hasTiers: true, handle: responses },
  { method: 'POST', path: /^\/v1\/messages$/, hasTiers: true, handle: messages },
  { method: 'POST', path: /^\/v1\/messages\/count_tokens$/, handle: countMessageTokens },
  { method: 'POST', path: /^(?:\/v1)?\/embeddings$/, hasTiers: true, handle: embeddings },
  { method: 'POST', path: /^\/tokenize$/, handle: tokenize },
  { method: 'POST', path: /^\/detokenize$/, handle: detokenize },
  { method: 'POST', path: /^\/apply-template$/, handle: applyTemplate },
  { method: 'GET', path: /^\/api\/version$/, handle: ollamaVersion },
  { method: 'GET', path: /^\/api\/tags$/, handle: ollamaTags },
  { method: 'GET', path: /^\/api\/ps$/, handle: ollamaPs },
  { method: 'POST', path: /^\/api\/show$/, handle: ollamaShow },
  { method: 'POST', path: /^\/api\/chat$/, handle: ollamaChat },
  { method: 'POST', path: /^\/api\/generate$/, handle: ollamaGenerate },
  {
    method: 'POST',
    path: /^\/api\/(?:pull|push|create|copy|embed|embeddings)$/,
    handle: ollamaRefusal,
  },
  { method: 'DELETE', path: /^\/api\/delete$/, handle: ollamaRefusal },
];

/** Never rejects: every failure is an error object with its status. */
export function createApp(context: ServerContext, access: GuardOptions): App {
  const guard = new Guard(access);
  return async (request) => {
    const started = context.now();
    const url = new URL(request.url);
    const id = `req_${randomUUID().replaceAll('-', '')}`;
    let reason: string | null = null;
    const response = await answer(context, guard, request, url).catch((thrown: unknown) => {
      const error = request.signal.aborted ? clientLeft() : toApiError(thrown);
      reason = error.message;
      if (error.status === 500) {
        context.emit({ type: 'error', code: error.details.code ?? '', message: error.message });
      }
      return errorResponse(error, dialectOf(url));
    });
    for (const [name, value] of Object.entries(guard.corsHeaders(request))) {
      response.headers.set(name, value);
    }
    response.headers.set('x-request-id', id);
    if (dialectOf(url) === 'anthropic') response.headers.set('request-id', id);
    const seconds = (context.now() - started) / 1000;
    const { method } = request;
    const { status } = response;
    context.metrics.request(knownPath(url), status);
    context.emit({ type: 'request', id, method, path: url.pathname, status, seconds, reason });
    return response;
  };
}

async function answer(
  context: ServerContext,
  guard: Guard,
  request: Request,
  url: URL,
): Promise<Response> {
  const path = decodedPath(url.pathname);
  const found = ROUTES.filter((route) => route.path.test(path));
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  const route = found.find((candidate) => candidate.method === method);
  guard.check(request, url, route?.isPublic ?? false);
  if (request.method === 'OPTIONS') return preflight(request);
  if (found.length === 0) {
    throw new ApiError(404, `there is nothing at ${path}`, { code: 'unknown_path' });
  }
  if (route === undefined) {
    const allow = found.map((candidate) => candidate.method).join(', ');
    throw new ApiError(405, `${path} takes ${allow}, not ${request.method}`, {
      code: 'method_not_allowed',
      headers: { allow },
    });
  }
  if (route.method === 'GET') {
    return await route.handle(context, request, route.path.exec(path)?.[1] ?? '');
  }
  const body = await readJson(request, context.bodyLimit);
  if (context.fast === null || route.hasTiers !== true) {
    return await route.handle(context, request, body);
  }
  const tier = await routed(context, context.fast, request, path, body);
  if ('response' in tier) return tier.response;
  return marked(context, await route.handle(context, request, body), tier.local);
}

/** Nobody reads this; it keeps a client's leaving apart from the server's failures (nginx's status for it). */
function clientLeft(): ApiError {
  return new ApiError(499, 'the client left before it had its answer');
}

function errorResponse(error: ApiError, dialect: Dialect): Response {
  const whole = error.response();
  if (dialect === 'openai') return whole;
  const body = dialect === 'anthropic' ? anthropicError(error) : { error: error.message };
  const headers = new Headers(whole.headers);
  headers.delete('content-length');
  return Response.json(body, { status: whole.status, headers });
}

function dialectOf(url: URL): Dialect {
  if (url.pathname.startsWith('/api/')) return 'ollama';
  return url.pathname.startsWith('/v1/messages') ? 'anthropic' : 'openai';
}

/** Of paths that strangers make up, there is no end. */
function knownPath(url: URL): string {
  const path = url.pathname.replace(/(.)\/+$/, '$1');
  const route = ROUTES.find((candidate) => candidate.path.test(path));
  if (route === undefined) return 'other';
  if (/^\/page\//.test(path)) return '/page/{file}';
  if (/\/responses\/./.test(path)) return '/v1/responses/{id}';
  return /\/models\/./.test(path) ? '/v1/models/{id}' : path;
}

function decodedPath(path: string): string {
  try {
    return decodeURIComponent(path).replace(/(.)\/+$/, '$1');
  } catch {
    throw new ApiError(400, 'the path is not valid percent-encoding');
  }
}

function preflight(request: Request): Response {
  return new Response(null, {
    status: 204,
    headers: {
      'access-control-allow-methods': 'GET, POST',
      'access-control-allow-headers': request.headers.get('access-control-request-headers') ?? '*',
      'access-control-max-age': '86400',
    },
  });
}
