// Before the first weight: the small files are read and the model is asked whether it could talk. What is on disk
// already is read there, the rest is fetched; nothing is written.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FlashmoeError } from '../../base/errors.js';
import { formatBytes } from '../../base/format.js';
import type { ModelPaths } from '../../base/paths.js';
import { checkSpeech } from '../../engine/check-speech.js';
import type { HubClient } from '../../hub/client.js';
import type { Emit } from '../../jobs/events.js';
import { CALIBRATION_FILE } from '../../repack/calibration.js';
import { smallFiles, userFiles } from '../../store/model-files.js';
import type { JournalState } from '../../store/state.js';
import { madeFiles } from '../../store/made-files.js';
import { listingOf, type StoredPlan } from '../../store/stored-plan.js';
import { hubTask } from '../../transfer/hub-events.js';

export interface SpeechStep {
  stored: StoredPlan;
  state: JournalState;
  client: HubClient;
  paths: ModelPaths;
  /** Where --chat-template is read from; null: not given. */
  template: string | null;
  emit: Emit;
  signal: AbortSignal;
}

/** Of one file. Vocabularies of a quarter of a million tokens take a tenth of it. */
const MOST_BYTES = 256 << 20;
/** What nothing here reads. */
const UNREAD = new Set([
  'vocab.json',
  'merges.txt',
  'added_tokens.json',
  'special_tokens_map.json',
]);

/** Throws ERR_UNSUPPORTED_MODEL for a model that can't talk; tells of one that can only go on with text. */
export async function requireSpeech(step: SpeechStep): Promise<void> {
  const { stored, state, template, emit } = step;
  const texts: Record<string, string> = {};
  const isHere = stored.sideFiles.every(({ path }) => state.copied.has(path));
  const made = isHere ? null : await madeFiles(step.client, stored, hubTask(step));
  const own = new Set(userFiles(stored).map(({ path }) => path));
  for (const { path, size } of smallFiles(stored)) {
    if (path === CALIBRATION_FILE) continue;
    // One that is named now is `template`; one that a setup began with is here.
    if (own.has(path) && !state.copied.has(path)) continue;
    // Beside a tokenizer.json it is not looked at.
    if (UNREAD.has(path) || (path === 'tiktoken.model' && 'tokenizer.json' in texts)) continue;
    if (size > MOST_BYTES) throw tooLarge(path, size);
    texts[path] = made?.[path] ?? (await readOne(step, path));
  }
  const given = template === null ? null : await readFile(template, 'utf8');
  const { notices } = await checkSpeech({
    files: { label: stored.pack.repo, texts },
    vocabSize: stored.pack.spec.vocabSize,
    template: given === null ? null : { text: given, file: template ?? '' },
  });
  for (const message of notices)
    emit({ type: 'notice', message: `${stored.pack.repo}: ${message}` });
}

async function readOne(step: SpeechStep, path: string): Promise<string> {
  const { stored, state, client, paths } = step;
  if (state.copied.has(path)) return await readFile(join(paths.root, path), 'utf8');
  return (await client.readSmall(listingOf(stored), path, MOST_BYTES, hubTask(step))).toString();
}

function tooLarge(path: string, size: number): FlashmoeError {
  return new FlashmoeError(
    'ERR_UNSUPPORTED_MODEL',
    `${path} has ${formatBytes(size)}, which no tokenizer or template needs; nothing was fetched`,
    { subject: path },
  );
}
