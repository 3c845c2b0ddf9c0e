// Clients of the server, each with the configuration it needs for a model of a few tokens a second. Pure: a
// server in, texts and values out. No key is ever part of a configuration; it names FLASHMOE_API_KEY.

export interface ServerFacts {
  /** Without a path, e.g. http://127.0.0.1:11435. */
  root: string;
  modelId: string;
  /** Tokens that fit. */
  contextLength: number;
  /** No server said so: `contextLength` is what every model has room for. */
  isGuess: boolean;
  /** The server wants a key. */
  hasKey: boolean;
  /** The server has a quick model, too, which is called `fast`. */
  hasFast: boolean;
}

/** Where a client looks: from the environment, else below the home folder. */
export interface Places {
  homeDirectory: string;
  env: Readonly<Record<string, string | undefined>>;
}

export type Format = 'json' | 'toml' | 'yaml';

export type Settings = { readonly [key: string]: unknown };

/** How a client is started with our settings, which it has for that run alone. */
export interface Launch {
  program: string;
  /** The command that installs it. */
  install: string;
  args: string[];
  env: Record<string, string>;
  /** What lies in the folder while it runs. */
  files: OwnFile[];
}

/** A file of ours that settings name; nothing in it is anybody else's. */
export interface OwnFile {
  name: string;
  text: string;
}

export interface Client {
  id: string;
  /** As its makers write it. */
  name: string;
  /** Null for a client that is configured by how it is started. */
  file: { format: Format; paths: (places: Places) => string[] } | null;
  /** What is merged into its file, or its environment. */
  settings: (server: ServerFacts) => Settings;
  /** Files of ours that lie beside its own one. */
  ownFiles?: (server: ServerFacts) => OwnFile[];
  /**
   * null for a client that reads only its own file.
   * @param key of the server; never an argument, which others see
   * @param folder for files while it runs
   */
  launch: ((server: ServerFacts, key: string, folder: string) => Launch) | null;
  /** What else a person has to do, commands where there are any. */
  next: (server: ServerFacts) => string[];
}

/** The name of our provider in every client. */
export const PROVIDER = 'flashmoe';

/** Milliseconds a client waits: a prompt of 14,000 tokens is read in about half an hour. */
export const PATIENCE_MS = 3_600_000;

/**
 * Tokens of a conversation, and of one answer. More would fit many models, and a client that fills it would wait
 * for hours.
 */
export function limits({ contextLength }: ServerFacts): { context: number; output: number } {
  const context = Math.min(contextLength, 65_536);
  return { context, output: Math.min(8192, Math.floor(context / 4)) };
}

export const KEY_VARIABLE = 'FLASHMOE_API_KEY';
/** Clients insist on a key; a server without one takes any. */
export const ANY_KEY = 'local';
