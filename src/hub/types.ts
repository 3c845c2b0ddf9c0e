// Hugging Face over HTTP as bytes: this folder knows repositories, commits and files, but no tensors.

export interface HubToken {
  /** Not enumerable when it comes from `hubSettings`, so that printing settings shows no secret. */
  value: string;
  /** Where it came from, for messages: `HF_TOKEN` or a file path. Never the value. */
  source: string;
}

export interface HubProxy {
  /** May hold credentials: never print it, print `source`. */
  url: URL;
  /** The variable it came from. */
  source: string;
  /** Why nothing can go through it, in words; absent for one that is understood. */
  unsupported?: string;
  /** Hosts that are reached directly: lower-case names, `.suffix`, `host:port`, or `*`. */
  bypass: string[];
}

/** Milliseconds, except where a unit is named. */
export interface HubTimeouts {
  /** From the request to the answer's headers, connecting included. */
  responseMs: number;
  /** Without one byte of a body. */
  idleMs: number;
  /** A body slower than this many bytes a second over a whole window counts as stalled. */
  floorBytesPerSecond: number;
  floorWindowMs: number;
}

export interface HubSettings {
  /** Base URL without trailing slash; the token goes to this origin only. */
  endpoint: string;
  token: HubToken | null;
  /** HF_HUB_OFFLINE: no request leaves the machine; loopback addresses are still reached. */
  offline: boolean;
  userAgent: string;
  /** For https URLs. */
  proxy: HubProxy | null;
  /** Certificates in PEM that are trusted beside the built-in ones; absent: none. */
  certificates?: string[];
  timeouts: HubTimeouts;
}

export interface RepoFile {
  /** Checked: relative, no `..`, no backslash, no NUL, no control characters. */
  path: string;
  size: number;
  /** sha256 of the content for LFS files, else null. */
  sha256: string | null;
  /** git blob sha1 of the content for plain files, else null (an LFS entry's oid is the pointer's). */
  gitSha1: string | null;
}

/** What a repository held at one commit. Every later URL carries `commit`. */
export interface RepoListing {
  repo: string;
  /** What was asked for: a branch, tag or commit. */
  revision: string;
  /** 40 hex digits. */
  commit: string;
  files: RepoFile[];
}

export type HubEvent =
  | { type: 'progress'; file: string; done: number; total: number }
  /** Bytes of an earlier run that were found on disk and hashed again. */
  | { type: 'resumed'; file: string; from: number; total: number }
  | { type: 'retry'; file: string; attempt: number; delayMs: number; reason: string }
  | { type: 'notice'; message: string };

export interface HubTask {
  emit(event: HubEvent): void;
  signal: AbortSignal;
}

/** Half-open, in bytes: `start` is the first byte, `end` the one after the last. Never empty. */
export interface ByteRange {
  start: number;
  end: number;
}

/** One file wherever it can be had: the Hub, another machine, a folder here. */
export interface ByteSource {
  /** Exactly the bytes of `range`, in order; Transient when the source broke off, FlashmoeError when waiting can't help. */
  open(range: ByteRange, task: HubTask): Promise<AsyncGenerator<Buffer, void, void>>;
  /** The next request goes over a fresh connection to a fresh address. */
  forget(): void;
}

/** PauseReasons transfers to a rate; asked before each chunk goes on. Several transfers share one. */
export interface Pace {
  /** Null when `bytes` may pass at once. */
  take(bytes: number, signal: AbortSignal): Promise<void> | null;
}
