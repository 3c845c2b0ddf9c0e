// Every failure a user can meet has one code here, and each code one exit status.
// base/ knows no domain: the words of a message are written where the failure happens.

/** Exit statuses of the `flashmoe` command (sysexits where one fits). */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 64,
  unavailable: 69,
  disk: 73,
  resumable: 75,
  auth: 77,
  interrupted: 130,
  terminated: 143,
} as const;

export type ExitName = keyof typeof EXIT;

const EXIT_OF = {
  // what was typed
  ERR_USAGE: 'usage',
  ERR_UNKNOWN_MODEL: 'usage',
  ERR_CONFIRM_NEEDED: 'usage',
  // the hub
  ERR_OFFLINE: 'unavailable',
  ERR_NETWORK: 'resumable',
  ERR_CERTIFICATE: 'failed',
  ERR_HTTP: 'failed',
  ERR_AUTH: 'auth',
  ERR_NOT_FOUND: 'failed',
  ERR_REVISION: 'failed',
  ERR_RANGE: 'resumable',
  ERR_REMOTE_CHANGED: 'failed',
  ERR_HASH: 'failed',
  ERR_REMOTE_CONTENT: 'failed',
  // files and formats
  ERR_UNSUPPORTED_MODEL: 'failed',
  ERR_SAFETENSORS: 'failed',
  ERR_GGUF: 'failed',
  ERR_PLAN: 'failed',
  ERR_JOURNAL: 'failed',
  ERR_FORMAT: 'failed',
  ERR_MODEL_DAMAGED: 'failed',
  ERR_MODEL_MISSING: 'failed',
  // the machine
  ERR_DISK_FULL: 'disk',
  ERR_HOME: 'disk',
  ERR_IO: 'failed',
  ERR_LOCKED: 'unavailable',
  ERR_OWNER_GONE: 'resumable',
  ERR_DEADLINE: 'unavailable',
  ERR_PORT_IN_USE: 'unavailable',
  ERR_TOOLCHAIN: 'unavailable',
  ERR_ENGINE: 'failed',
  ERR_BACKEND: 'unavailable',
  ERR_SERVICE: 'failed',
  ERR_SERVER: 'unavailable',
  ERR_CLIENT_CONFIG: 'failed',
  // the run
  ERR_KNOWN_ANSWER: 'failed',
  ERR_CONTEXT: 'failed',
  ERR_TEMPLATE: 'failed',
  ERR_GRAMMAR: 'failed',
  ERR_ANSWER: 'failed',
  ERR_INTERRUPTED: 'interrupted',
  ERR_INTERNAL: 'failed',
} as const satisfies Record<string, ExitName>;

export type ErrorCode = keyof typeof EXIT_OF;

/** In the order of this file: by what they are about. */
export const ERROR_CODES = Object.keys(EXIT_OF) as ErrorCode[];

export interface ErrorDetails {
  /** One action, as a command or a sentence without full stop; printed on its own line as `hint: …`. */
  hint?: string | undefined;
  /** True when running the same command again goes on from what is on disk. */
  resumable?: boolean | undefined;
  /** The field, header, path or tensor at fault, where there is one. */
  subject?: string | undefined;
  /** Numbers a caller may act on, e.g. how many tokens there were and how many fit. */
  figures?: Readonly<Record<string, number>> | undefined;
  cause?: unknown;
}

/** The one error class that crosses folder borders. `message` says what happened and what became of the bytes. */
export class FlashmoeError extends Error {
  override readonly name = 'FlashmoeError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly resumable: boolean;
  readonly subject: string | undefined;
  readonly figures: Readonly<Record<string, number>>;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.hint = details.hint;
    this.resumable = details.resumable ?? EXIT_OF[code] === 'resumable';
    this.subject = details.subject;
    this.figures = details.figures ?? {};
  }
}

/** Exit status for a code: the one place where codes become numbers. */
export function exitStatus(code: ErrorCode): number {
  return EXIT[EXIT_OF[code]];
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(EXIT_OF, value);
}

/** Wraps anything thrown as a FlashmoeError; keeps one that already is, and a native error's own code. */
export function asFlashmoeError(thrown: unknown): FlashmoeError {
  if (thrown instanceof FlashmoeError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const code = (thrown as { code?: unknown } | null)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new FlashmoeError('ERR_DISK_FULL', message, { cause: thrown, resumable: true });
  }
  if (isErrorCode(code)) return new FlashmoeError(code, message, { cause: thrown });
  if (typeof code === 'string' && /^E[A-Z]+$/.test(code)) {
    return new FlashmoeError('ERR_IO', message, { cause: thrown });
  }
  return new FlashmoeError('ERR_INTERNAL', message, { cause: thrown });
}
