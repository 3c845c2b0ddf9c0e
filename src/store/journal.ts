// The journal: append-only, fsynced line by line, bound to one repository, commit and plan. It holds
// facts only; progress is an event and may be lost. See journal-lines.ts for what a line can say.

import { constants } from 'node:fs';
import { open, readFile, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncDirectory, withPath, writeFileAtomic } from '../base/atomic-file.js';
import { requireVersion } from '../base/format-version.js';
import { FlashmoeError } from '../base/errors.js';
import {
  journalEntry,
  journalHeader,
  type JournalEntry,
  type JournalHeader,
} from './journal-lines.js';
import { applyEntry, reduceJournal, type JournalState } from './state.js';

export type { JournalEntry, JournalHeader } from './journal-lines.js';

export interface JournalContent {
  header: JournalHeader;
  entries: JournalEntry[];
  /** Bytes of the file that are whole lines; what follows was torn off by a crash. */
  length: number;
}

export interface Journal {
  readonly header: JournalHeader;
  /** Those found at opening and those appended since. */
  readonly entries: readonly JournalEntry[];
  /** What is done: the state at opening, and what every line since has said. */
  readonly state: JournalState;
  /** Durable, and part of the state, when it resolves. A failed append leaves no trace and may be tried again. */
  append(entry: JournalEntry): Promise<void>;
  close(): Promise<void>;
}

/** What a journal says, without changing it; null when there is none, or not even its first line. */
export async function readJournal(path: string): Promise<JournalContent | null> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  return parseJournal(path, content);
}

/** Pure. Throws ERR_JOURNAL for a bad line that is not the last. */
export function parseJournal(path: string, content: Uint8Array): JournalContent | null {
  const lines: unknown[] = [];
  let length = 0;
  const text = new TextDecoder();
  while (length < content.length) {
    const end = content.indexOf(0x0a, length);
    if (end < 0) break;
    const line = parseLine(text.decode(content.subarray(length, end)));
    if (line === undefined) {
      if (end + 1 >= content.length) break;
      throw damaged(path, lines.length + 1, 'it is not JSON');
    }
    lines.push(line.value);
    length = end + 1;
  }
  if (lines.length === 0) return null;
  requireVersion(lines[0], 'schema', 1, path);
  const header = journalHeader.safeParse(lines[0]);
  if (!header.success) throw damaged(path, 1, header.error.issues[0]?.message);
  const entries = lines.slice(1).map((line, index) => {
    const entry = journalEntry.safeParse(line);
    if (!entry.success) throw damaged(path, index + 2, entry.error.issues[0]?.message);
    return entry.data;
  });
  return { header: header.data, entries, length };
}

/**
 * Opens the journal of a folder or begins one. The caller holds the folder's lock. Throws ERR_JOURNAL
 * when the journal there belongs to another repository, commit, plan or quantisation.
 * `confirmed`: what the disk confirms of its lines, which later lines go on from; without it all that they say.
 */
export async function openJournal(
  path: string,
  wanted: JournalHeader,
  confirmed?: JournalState,
): Promise<Journal> {
  const found = await readJournal(path);
  const different = found && differentRun(found.header, wanted, dirname(path));
  if (different) throw different;
  if (found === null) await writeFileAtomic(path, `${JSON.stringify(wanted)}\n`);

  const file = await open(path, constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW);
  try {
    const { size } = await file.stat();
    if (found !== null && found.length < size) {
      await file.truncate(found.length);
      await file.sync();
    }
    await syncDirectory(dirname(path));
    return new AppendOnlyJournal(
      path,
      file,
      found?.header ?? wanted,
      found?.entries ?? [],
      confirmed ?? reduceJournal(found?.entries ?? []),
      found?.length ?? size,
    );
  } catch (error) {
    await file.close();
    throw error;
  }
}

class AppendOnlyJournal implements Journal {
  readonly entries: JournalEntry[];
  private turn: Promise<void> = Promise.resolve();
  /** Behind `length` may stand what a failed append left. */
  private torn = false;

  constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    readonly header: JournalHeader,
    entries: readonly JournalEntry[],
    readonly state: JournalState,
    private length: number,
  ) {
    this.entries = [...entries];
  }

  append(entry: JournalEntry): Promise<void> {
    const written = this.turn.then(() => this.write(entry));
    this.turn = written.catch(() => undefined);
    return written;
  }

  async close(): Promise<void> {
    await this.turn;
    await this.file.close();
  }

  private async write(entry: JournalEntry): Promise<void> {
    const line = Buffer.from(`${JSON.stringify(entry)}\n`);
    try {
      await this.mend();
      this.torn = true;
      await this.file.appendFile(line);
      await this.file.sync();
      this.torn = false;
    } catch (error) {
      // Shrinking works on a full disk, too. Where it doesn't, it comes before the next line, or there is none.
      await this.mend().catch(() => undefined);
      throw withPath(error, this.path);
    }
    this.length += line.length;
    this.entries.push(entry);
    applyEntry(this.state, entry);
  }

  /** Half a line, or one that may not be durable, must not stand before the next one. */
  private async mend(): Promise<void> {
    if (!this.torn) return;
    await this.file.truncate(this.length);
    this.torn = false;
  }
}

function parseLine(line: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(line) as unknown };
  } catch {
    return undefined;
  }
}

function damaged(path: string, line: number, why = 'unknown form'): FlashmoeError {
  return new FlashmoeError(
    'ERR_JOURNAL',
    `${path}: line ${line} cannot be read (${why}); nothing was changed`,
    {
      hint: 'a newer flashmoe may have written it: update, or move the folder away and run setup again',
      subject: path,
    },
  );
}

/** Why a run that wants `wanted` must not go on in a folder that began as `found`; null when it may. Pure. */
export function differentRun(
  found: JournalHeader,
  wanted: JournalHeader,
  folder: string,
): FlashmoeError | null {
  const differences = (
    [
      ['repository', found.repo, wanted.repo],
      ['commit', found.commit, wanted.commit],
      ['quantisation', found.quant, wanted.quant],
      ['plan', found.plan.slice(0, 12), wanted.plan.slice(0, 12)],
    ] as const
  ).filter(([, there, now]) => there !== now);
  // A changed commit or width changes the plan as well; naming that, too, would only distract.
  const telling =
    differences.length > 1 ? differences.filter(([what]) => what !== 'plan') : differences;
  const [first] = telling;
  if (first === undefined) return null;
  const list = telling.map(([what, there, now]) => `${what} ${there} there, ${now} now`).join('; ');
  const hint =
    first[0] === 'plan'
      ? `finish it with the flashmoe that began it, or delete ${folder} and start again`
      : `go on with what is there (${found.repo}, ${found.quant}), or delete ${folder} and start again`;
  return new FlashmoeError(
    'ERR_JOURNAL',
    `${folder} holds an unfinished setup of something else: ${list}; nothing was changed`,
    { hint, subject: first[0] },
  );
}
