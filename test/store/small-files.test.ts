// A model whose small files were edited after its setup is not loaded: its weights would mean something else.

import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requireSmallFiles } from '../../src/store/small-files.js';

let root = '';
beforeAll(async () => (root = await mkdtemp(join(tmpdir(), 'fm-small-'))));
afterAll(() => rm(root, { recursive: true }));

const NAMES = ['model_weights.json', 'tokenizer.json', 'chat_template.jinja', 'config.json'];
const owned = (path: string, content = path) => ({
  ...{ path, size: content.length },
  sha256: createHash('sha256').update(content).digest('hex'),
});

test.each(NAMES)('an edited %s is refused by name, and the way back is said', async (name) => {
  for (const each of NAMES) await writeFile(join(root, each), each);
  const manifest = { model: 'tiny', files: NAMES.map((each) => owned(each)) };
  await requireSmallFiles(manifest, { root });
  await writeFile(join(root, name), `${name.slice(0, -1)}#`);
  const refused = requireSmallFiles(manifest, { root });
  await expect(refused).rejects.toMatchObject({ code: 'ERR_MODEL_DAMAGED', subject: name });
  const hint = name === 'chat_template.jinja' ? '--chat-template FILE' : 'verify tiny --repair';
  await expect(refused).rejects.toMatchObject({ hint: expect.stringContaining(hint) as string });
});

test('weights are not read, and what is missing is another’s to name', async () => {
  await writeFile(join(root, 'model_weights.bin'), 'other bytes');
  const files = [owned('model_weights.bin'), owned('not-there.json')];
  await requireSmallFiles({ model: 'tiny', files }, { root });
});
