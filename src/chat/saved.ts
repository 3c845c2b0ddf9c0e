// A conversation as a file: what was said, for whom it was said to, and nothing of this machine.

import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../base/atomic-file.js';
import { FlashmoeError } from '../base/errors.js';
import type { ChatMessage } from '../engine/types.js';

const Saved = z.object({
  format: z.literal('flashmoe-chat'),
  version: z.literal(1),
  model: z.string(),
  messages: z.array(
    z.object({
      role: z.enum(['system', 'user', 'assistant']),
      content: z.string(),
      reasoning: z.string().optional(),
    }),
  ),
});

/** Only its owner may read it: people tell a model of their own what they tell nobody. */
export async function saveConversation(
  path: string,
  folder: string,
  model: string,
  messages: readonly ChatMessage[],
): Promise<string> {
  const place = resolve(folder, path);
  const said = messages.map(({ role, content, reasoning }) => ({
    ...{ role, content },
    ...(reasoning ? { reasoning } : {}),
  }));
  const text = JSON.stringify(
    { format: 'flashmoe-chat', version: 1, model, messages: said },
    null,
    2,
  );
  await writeFileAtomic(place, `${text}\n`, 0o600).catch((cause: unknown) => {
    throw new FlashmoeError('ERR_IO', `${place} could not be written`, { cause });
  });
  return place;
}

/** ERR_USAGE for a file that isn't there or holds no conversation. */
export async function loadConversation(path: string, folder: string): Promise<ChatMessage[]> {
  const place = resolve(folder, path);
  const text = await readFile(place, 'utf8').catch((cause: unknown) => {
    throw new FlashmoeError('ERR_USAGE', `${place} cannot be read`, { cause });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FlashmoeError('ERR_USAGE', `${place} is no JSON`, { cause });
  }
  const saved = Saved.safeParse(value);
  if (!saved.success) {
    throw new FlashmoeError('ERR_USAGE', `${place} holds no conversation that \`/save\` wrote`);
  }
  return saved.data.messages.map(({ reasoning, ...message }) => ({
    ...message,
    ...(reasoning === undefined ? {} : { reasoning }),
  }));
}
