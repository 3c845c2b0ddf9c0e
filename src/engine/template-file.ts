// A chat template of the user's own, before it becomes part of a model: read within bounds and parsed, never run.

import { readFile, stat } from 'node:fs/promises';
import { FlashmoeError } from '../base/errors.js';

/** Bytes. The largest template of a published model is about 20 kB. */
const LIMIT = 1 << 20;

/** Throws ERR_TEMPLATE for what is too long, is no UTF-8 or cannot be parsed, and what reading the file throws. */
export async function checkTemplateFile(path: string): Promise<void> {
  const refusal = (why: string, cause?: unknown): FlashmoeError =>
    new FlashmoeError('ERR_TEMPLATE', `${path} is no chat template: ${why}; nothing was fetched`, {
      hint: 'correct the file, or leave --chat-template away to use that of the repository',
      subject: path,
      cause,
    });
  const { size } = await stat(path);
  if (size > LIMIT) throw refusal(`it has ${size} bytes, at most ${LIMIT} are read`);
  const bytes = await readFile(path);
  // Only where a template is named: every other command starts without it.
  const { Template } = await import('@huggingface/jinja');
  try {
    new Template(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw refusal(cause instanceof Error ? cause.message : String(cause), cause);
  }
}
