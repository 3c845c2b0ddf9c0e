// Running the real setup in a child process, and comparing what came of it.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import type { InstallEvent } from '../../src/jobs/events.js';
import type { Quant } from '../../src/models/quant.js';
import type { TokensQuestion } from '../../src/models/smoke.js';
import { start, type Program } from '../helpers/child.js';
import { fixture } from '../repack/fixtures.js';
import type { Job } from './programs/provision.js';

export const FIXTURE = fixture('qwen3_5_moe');

const golden = JSON.parse(readFileSync(join(FIXTURE, 'golden.json'), 'utf8')) as {
  input_ids: number[];
  greedy: number[];
  greedy_margin: number[];
};

/** Of a model of which nothing is known it is only asked whether it takes a prompt. */
const NOTHING_KNOWN: TokensQuestion = {
  kind: 'tokens',
  name: 'a prompt',
  prompt: golden.input_ids,
  expected: [],
  margins: [],
};

/** The reference's own tokens; at two bits it is another model, and no reference of it exists. */
const QUESTIONS: Record<Quant, TokensQuestion[]> = {
  '4bit': [
    {
      kind: 'tokens',
      name: 'greedy tokens',
      prompt: golden.input_ids,
      expected: golden.greedy,
      margins: golden.greedy_margin,
    },
  ],
  '5bit': [NOTHING_KNOWN],
  '3bit': [NOTHING_KNOWN],
  '2bit': [NOTHING_KNOWN],
  mixed: [NOTHING_KNOWN],
  tiered: [NOTHING_KNOWN],
};

export function questionsFor(quant: Quant): TokensQuestion[] {
  return QUESTIONS[quant];
}

export function jobFor(home: string, quant: Quant, kill?: Job['kill']): Job {
  const job = { home, folder: FIXTURE, quant, questions: QUESTIONS[quant] };
  return kill === undefined ? job : { ...job, kill };
}

export interface Outcome {
  status: number | NodeJS.Signals;
  events: InstallEvent[];
  stderr: string;
}

const PROGRAM = new URL('./programs/provision.ts', import.meta.url);

/** The setup program under way. */
export function begin(job: Job, env: Record<string, string> = {}): Program {
  return start(PROGRAM, [JSON.stringify(job)], env);
}

/** Runs to the end, whatever it is. */
export async function provision(job: Job, env: Record<string, string> = {}): Promise<Outcome> {
  const running = begin(job, env);
  const events: InstallEvent[] = [];
  const status = running.ended;
  try {
    for (;;) events.push(JSON.parse(await running.line()) as InstallEvent);
  } catch {
    // Its output has ended.
  }
  return { status: await status, events, stderr: running.stderr() };
}

/** Another last byte of the last shard of a checkpoint: a number of one tensor twice or half as large. */
export async function changeLastByte(checkpoint: string): Promise<void> {
  const shards = (await readdir(checkpoint)).filter((name) => name.endsWith('.safetensors'));
  const path = join(checkpoint, shards.sort().at(-1) ?? '');
  await flip(path, (await stat(path)).size - 1, 1);
}

/** Changes one bit of a file's byte. */
export async function flip(path: string, at: number, bit = 0x10): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  await file.write(Buffer.from([(byte[0] ?? 0) ^ bit]), 0, 1, at);
  await file.close();
}

/** Path → sha256 of every file below a folder, without the records that hold times of their own. */
export async function hashesBelow(root: string): Promise<Record<string, string>> {
  const own = ['journal.ndjson', 'manifest.json', 'record.ndjson'];
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const hashes: Record<string, string> = {};
  for (const entry of entries.filter((each) => each.isFile())) {
    const path = join(entry.parentPath, entry.name);
    const name = relative(root, path);
    if (own.includes(name)) continue;
    hashes[name] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  }
  return hashes;
}

export async function journalLength(root: string): Promise<number> {
  const text = await readFile(join(root, 'journal.ndjson'), 'utf8').catch(() => '');
  return text.split('\n').length - 1;
}
