// A conversation: what was said, what is being answered, and the commands. Owns the state; views are told of it.

import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import { formatDuration, formatExact } from '../base/format.js';
import type { ChatMessage } from '../engine/types.js';
import { attachFiles } from './attach.js';
import type { ChatBackend, ChatEvent, ChatOptions } from './backend.js';
import { CHAT_COMMANDS, parseChatLine, type ChatCommandName } from './commands.js';
import { loadConversation, saveConversation } from './saved.js';

/** One thing that is on the screen for good. */
export type Entry =
  | { type: 'user'; text: string }
  | { type: 'answer'; reasoning: string; text: string; note: string }
  | { type: 'note'; text: string }
  | { type: 'error'; text: string; hint: string | null };

export interface Answering {
  /** Milliseconds since the epoch. */
  since: number;
  /** null before the server or the engine said anything. */
  reading: { done: number; total: number; since: number } | null;
  reasoning: string;
  text: string;
  /** Of content and reasoning, as pieces came: about one a token. */
  pieces: number;
  firstPieceAt: number | null;
}

export interface Opening {
  /** null until it is known which one it is. */
  model: string | null;
  /** Milliseconds since the epoch. */
  since: number;
}

export interface ChatState {
  /** Empty, as `place`, before the first one is there. */
  model: string;
  place: string;
  /** What is being loaded; what is sent meanwhile is answered when it is there. */
  opening: Opening | null;
  contextLength: number | null;
  entries: readonly Entry[];
  answering: Answering | null;
  /** Of the last answer. */
  last: Extract<ChatEvent, { type: 'finish' }> | null;
  thinking: boolean | null;
  experts: number | null;
  isClosed: boolean;
}

export interface ModelChoice {
  /** null: the one that answers when none is named. */
  model: string | null;
  /** null: as the model says. */
  experts: number | null;
}

export interface ChatDependencies {
  /** Whoever answers. Gives up when `signal` is aborted; `loading` is told the model, where one has to be loaded. */
  open: (
    choice: ModelChoice,
    signal: AbortSignal,
    loading: (model: string) => void,
  ) => Promise<ChatBackend>;
  /** Ids of models that are ready here. */
  models: () => Promise<string[]>;
  /** What a path in a message is relative to, and what `~` is. */
  folder: string;
  homeDirectory: string;
  now: () => number;
}

export class Chat {
  #state: ChatState;
  readonly #listeners = new Set<() => void>();
  #messages: ChatMessage[] = [];
  #system: string | null;
  readonly #first: Promise<ChatBackend>;
  /** Who answers from here on; while it opens, questions wait for it. */
  #backend: Promise<ChatBackend>;
  #abort: AbortController | null = null;
  readonly #ending = new AbortController();

  /** Opens `model` at once; see `opened`. */
  constructor(
    private readonly needs: ChatDependencies,
    model: string | null,
    private readonly options: { system: string | null } & Omit<ChatOptions, 'thinking'>,
    thinking: boolean | null,
  ) {
    this.#system = options.system;
    const nothing = { entries: [], answering: null, last: null, experts: null, opening: null };
    this.#state = {
      ...nothing,
      ...{ model: '', place: '', contextLength: null, thinking, isClosed: false },
    };
    this.#first = this.#open({ model, experts: null });
    this.#backend = this.#first;
    this.#backend.catch(() => this.#set({ isClosed: true }));
  }

  /** Rejects with what `open` threw when the first model can't answer: the conversation is closed then. */
  async opened(): Promise<void> {
    await this.#first.catch((error: unknown) => {
      if (!this.#ending.signal.aborted) throw error;
    });
  }

  readonly state = (): ChatState => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** A line as it was typed. Resolves when it is answered or carried out; never rejects: what goes wrong is an entry. */
  async send(line: string): Promise<void> {
    if (line.trim() === '' || this.#state.answering !== null) return;
    const parsed = parseChatLine(line);
    try {
      if (parsed.type === 'message') await this.#ask(parsed.text);
      else if (parsed.type === 'command') await this.#obey(parsed.name, parsed.argument);
      else this.#unknown(parsed.word, parsed.nearest);
    } catch (thrown) {
      const { message, hint } = asFlashmoeError(thrown);
      this.#add({ type: 'error', text: message, hint: hint ?? null });
    }
  }

  /** Ends the answer at hand; what came of it stays. False when nothing is being answered. */
  stop(): boolean {
    if (this.#abort === null) return false;
    this.#abort.abort();
    return true;
  }

  async close(): Promise<void> {
    this.stop();
    this.#ending.abort();
    this.#set({ isClosed: true });
    await this.#backend.then((backend) => backend.close()).catch(() => undefined);
  }

  async #open(choice: ModelChoice): Promise<ChatBackend> {
    this.#set({ opening: { model: choice.model, since: this.needs.now() } });
    try {
      const backend = await this.needs.open(choice, this.#ending.signal, (model) => {
        if (this.#state.opening !== null) this.#set({ opening: { ...this.#state.opening, model } });
      });
      const { model, place, contextLength } = backend;
      this.#set({ model, place, contextLength, experts: choice.experts });
      return backend;
    } finally {
      this.#set({ opening: null });
    }
  }

  async #ask(line: string): Promise<void> {
    const { text, files } = await attachFiles(line, this.needs);
    this.#add({ type: 'user', text: line });
    if (files.length > 0) this.#note(`attached: ${files.join(', ')}`);
    const asked: ChatMessage = { role: 'user', content: text };
    const system =
      this.#system === null ? [] : [{ role: 'system' as const, content: this.#system }];
    this.#abort = new AbortController();
    const since = this.needs.now();
    this.#set({
      answering: { since, reading: null, reasoning: '', text: '', pieces: 0, firstPieceAt: null },
    });
    const { signal } = this.#abort;
    const { maxTokens, temperature, seed } = this.options;
    const options = { thinking: this.#state.thinking, maxTokens, temperature, seed };
    let finish: ChatState['last'] = null;
    let failure: FlashmoeError | null = null;
    try {
      const messages = [...system, ...this.#messages, asked];
      const backend = await unlessAborted(this.#backend, signal);
      for await (const event of backend.answer(messages, options, signal)) {
        if (event.type === 'finish') finish = event;
        else this.#hear(event);
      }
    } catch (thrown) {
      if (!signal.aborted) failure = asFlashmoeError(thrown);
    }
    this.#end(asked, finish, failure, signal.aborted);
  }

  #hear(event: Exclude<ChatEvent, { type: 'finish' }>): void {
    const { answering } = this.#state;
    if (answering === null) return;
    const now = this.needs.now();
    if (event.type === 'reading') {
      const { done, total } = event;
      this.#set({
        answering: {
          ...answering,
          reading: { done, total, since: answering.reading?.since ?? now },
        },
      });
      return;
    }
    const key = event.channel === 'reasoning' ? 'reasoning' : 'text';
    this.#set({
      answering: {
        ...answering,
        [key]: answering[key] + event.text,
        pieces: answering.pieces + 1,
        firstPieceAt: answering.firstPieceAt ?? now,
      },
    });
  }

  #end(
    asked: ChatMessage,
    finish: ChatState['last'],
    failure: FlashmoeError | null,
    isStopped: boolean,
  ): void {
    const { answering } = this.#state;
    this.#abort = null;
    this.#set({ answering: null, last: finish ?? this.#state.last });
    const { reasoning = '', text = '' } = answering ?? {};
    if (text !== '' || reasoning !== '') {
      const note = isStopped
        ? 'stopped'
        : finish?.reason === 'length'
          ? 'cut at the token limit'
          : '';
      this.#add({ type: 'answer', reasoning, text, note });
      const said: ChatMessage = { role: 'assistant', content: text };
      this.#messages = [...this.#messages, asked, reasoning === '' ? said : { ...said, reasoning }];
    } else if (isStopped) {
      this.#note('stopped before the first word; the question is not kept');
    }
    if (failure === null) return;
    this.#add({ type: 'error', text: failure.message, hint: failure.hint ?? null });
  }

  async #obey(name: ChatCommandName, argument: string): Promise<void> {
    switch (name) {
      case '/help':
        return this.#note(helpText());
      case '/system':
        this.#system = argument === '' ? null : argument;
        return this.#note(
          argument === '' ? 'no system message from here on' : 'system message set',
        );
      case '/think':
        return this.#think(argument);
      case '/model':
        return argument === '' ? this.#listModels() : this.#reopen(argument, this.#state.experts);
      case '/experts':
        return this.#experts(argument);
      case '/save':
        return this.#save(argument);
      case '/load':
        return this.#load(argument);
      case '/clear':
        this.#messages = [];
        this.#set({ last: null });
        return this.#note('a new conversation');
      case '/quit':
        return this.close();
    }
  }

  #think(argument: string): void {
    const values: Record<string, boolean | null> = { on: true, off: false, auto: null };
    const chosen = argument === '' ? this.#state.thinking !== true : values[argument];
    if (chosen === undefined) throw new FlashmoeError('ERR_USAGE', '/think takes on, off or auto');
    this.#set({ thinking: chosen });
    this.#note(
      chosen === null
        ? 'the model decides whether it thinks'
        : `thinking is ${chosen ? 'on' : 'off'}`,
    );
  }

  async #listModels(): Promise<void> {
    const models = await this.needs.models();
    this.#note(
      models.map((id) => (id === this.#state.model ? `${id} (answers now)` : id)).join('\n'),
    );
  }

  async #experts(argument: string): Promise<void> {
    const count = argument === 'auto' || argument === '' ? null : Number(argument);
    if (count !== null && !(Number.isInteger(count) && count > 0)) {
      throw new FlashmoeError('ERR_USAGE', '/experts takes a number of experts, or auto');
    }
    await this.#reopen(this.#state.model, count);
    this.#note(count === null ? 'as many experts as the model says' : `${count} experts a token`);
  }

  /** The one that answers stays where the other doesn't come. */
  async #reopen(model: string, experts: number | null): Promise<void> {
    const old = await this.#backend;
    const opening = this.#open({ model, experts });
    this.#backend = opening.catch(() => old);
    const { model: id, place } = await opening;
    await old.close();
    this.#note(`${id} answers from here on (${place})`);
  }

  async #save(path: string): Promise<void> {
    if (path === '') throw new FlashmoeError('ERR_USAGE', '/save needs the name of a file');
    const system =
      this.#system === null ? [] : [{ role: 'system' as const, content: this.#system }];
    const messages = [...system, ...this.#messages];
    const place = await saveConversation(path, this.needs.folder, this.#state.model, messages);
    this.#note(`saved: ${place}`);
  }

  async #load(path: string): Promise<void> {
    if (path === '') throw new FlashmoeError('ERR_USAGE', '/load needs the name of a file');
    const messages = await loadConversation(path, this.needs.folder);
    this.#system = messages.find(({ role }) => role === 'system')?.content ?? null;
    this.#messages = messages.filter(({ role }) => role !== 'system');
    for (const { role, content, reasoning = '' } of this.#messages) {
      if (role === 'user') this.#add({ type: 'user', text: content });
      else this.#add({ type: 'answer', reasoning, text: content, note: '' });
    }
    this.#set({ last: null });
    this.#note(`loaded ${this.#messages.length} messages`);
  }

  #unknown(word: string, nearest: string | null): void {
    const hint = nearest === null ? '/help lists them' : `did you mean ${nearest}?`;
    this.#add({
      type: 'error',
      text: `${word} is no command`,
      hint: `${hint} A message may begin with //`,
    });
  }

  #note(text: string): void {
    this.#add({ type: 'note', text });
  }

  #add(entry: Entry): void {
    this.#set({ entries: [...this.#state.entries, entry] });
  }

  #set(change: Partial<ChatState>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener();
  }
}

/** A stop does not wait for what goes on without it. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new FlashmoeError('ERR_INTERRUPTED', 'stopped'));
    signal.addEventListener('abort', stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

const KEYS = [
  ['Enter', 'sends; Alt-Enter, Ctrl-J or a \\ at the end begins a new line'],
  ['Up, Down', 'what was sent before'],
  ['@path', 'puts a text file into the message'],
  ['Ctrl-T', 'shows or folds what the model thinks'],
  ['Ctrl-C', 'stops the answer, else clears the line, else leaves'],
] as const;

export function helpText(): string {
  const commands = CHAT_COMMANDS.map(
    ([name, argument, what]) => [`${name} ${argument}`.trim(), what] as const,
  );
  const width = Math.max(...[...commands, ...KEYS].map(([name]) => name.length));
  return [...commands, ...KEYS].map(([name, what]) => `${name.padEnd(width)}  ${what}`).join('\n');
}

/** `loading tiny, 12 s`. */
export function openingText({ model, since }: Opening, now: number): string {
  return `loading ${model ?? 'the model'}, ${formatDuration((now - since) / 1000)}`;
}

/** What is being waited for, in one line: `reading the prompt: 1,024 of 8,000 tokens, 12 s left`. */
export function readingText({ reading, since }: Answering, now: number): string {
  if (reading === null) return `waiting for the model, ${formatDuration((now - since) / 1000)}`;
  const { done, total } = reading;
  const seconds = (now - reading.since) / 1000;
  const left = done > 0 && seconds > 2 ? (seconds / done) * (total - done) : null;
  const words = `reading the prompt: ${formatExact(done)} of ${formatExact(total)} tokens`;
  return left === null ? words : `${words}, ${formatDuration(left)} left`;
}
