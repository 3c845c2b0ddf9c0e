// Every failure as the error object of the OpenAI API. Nothing leaves the server as HTML or bare text.

import { asFlashmoeError, type ErrorCode, type FlashmoeError } from '../base/errors.js';

export interface ErrorBody {
  error: {
    message: string;
    type: string;
    param: string | null;
    code: string | null;
    [figure: string]: unknown;
  };
}

export interface ApiErrorDetails {
  type?: string;
  /** The field at fault, e.g. `messages[0].content`. */
  param?: string;
  code?: string;
  headers?: Record<string, string>;
  /** Further members of the error object. */
  figures?: Record<string, number>;
}

/** A failure that already knows its HTTP status. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly status: number,
    message: string,
    readonly details: ApiErrorDetails = {},
  ) {
    super(message);
  }

  body(): ErrorBody {
    const { type, param, code, figures } = this.details;
    return {
      error: {
        message: this.message,
        type:
          type ??
          TYPE_OF[this.status] ??
          (this.status < 500 ? 'invalid_request_error' : 'server_error'),
        param: param ?? null,
        code: code ?? null,
        ...figures,
      },
    };
  }

  response(): Response {
    return Response.json(this.body(), { status: this.status, headers: this.details.headers ?? {} });
  }
}

/** The same in the words of the Messages API. */
export function anthropicError(error: ApiError): { type: 'error'; error: object } {
  const { type, message } = error.body().error;
  const { figures } = error.details;
  const known = ANTHROPIC_TYPE[error.status] ?? (error.status >= 500 ? 'api_error' : type);
  // Clients look for these words before they compact a conversation.
  const words =
    type === CONTEXT
      ? `prompt is too long: ${figures?.n_prompt_tokens} tokens > ${figures?.n_ctx} maximum`
      : message;
  return { type: 'error', error: { type: known, message: words, ...figures } };
}

const CONTEXT = 'exceed_context_size_error';
const ANTHROPIC_TYPE: Record<number, string> = {
  400: 'invalid_request_error',
  413: 'request_too_large',
  503: 'overloaded_error',
};

/** 400, naming the field. */
export function badField(param: string, message: string): ApiError {
  return new ApiError(400, message, { param });
}

const TYPE_OF: Record<number, string> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  503: 'unavailable_error',
};

/** Seconds a client is asked to wait: a model loads or an answer ends in about that time. */
const RETRY_AFTER = { 'retry-after': '10' };

/** The HTTP reading of anything thrown. An unknown failure is a 500 that names its code, not its stack. */
export function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const error = asFlashmoeError(thrown);
  const message = error.hint === undefined ? error.message : `${error.message} (${error.hint})`;
  if (error.code === 'ERR_CONTEXT') return contextExceeded(error);
  const param = error.subject === undefined ? {} : { param: error.subject };
  if (error.code === 'ERR_TEMPLATE' || error.code === 'ERR_GRAMMAR')
    return new ApiError(400, message, param);
  const status = UNAVAILABLE.has(error.code) ? 503 : 500;
  return new ApiError(status, message, {
    code: error.code,
    ...(status === 503 ? { headers: RETRY_AFTER } : {}),
  });
}

/** The server is up and there is nothing to answer with, now. */
export function unavailable(message: string, code: string): ApiError {
  return new ApiError(503, message, { code, headers: RETRY_AFTER });
}

const UNAVAILABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ERR_MODEL_MISSING',
  'ERR_MODEL_DAMAGED',
  'ERR_INTERRUPTED',
]);

/** Clients compact their history and try again on exactly this type and these two numbers. */
function contextExceeded(error: FlashmoeError): ApiError {
  const { promptTokens, contextLength } = error.figures;
  return new ApiError(400, error.message, {
    type: CONTEXT,
    code: 'context_length_exceeded',
    param: 'messages',
    figures: {
      ...(promptTokens === undefined ? {} : { n_prompt_tokens: promptTokens }),
      ...(contextLength === undefined ? {} : { n_ctx: contextLength }),
    },
  });
}
