import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadChatTemplate } from '../../src/engine/chat-template.js';
import { loadGenerationSettings } from '../../src/engine/generation-settings.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import { fixture } from './fixtures.js';

async function load(dir: string) {
  const tokenizer = await loadTokenizer(dir);
  const template = await loadChatTemplate(dir, tokenizer);
  return loadGenerationSettings(dir, tokenizer, template?.endOfTurn() ?? null);
}

describe('generation settings', () => {
  it('come from generation_config.json', async () => {
    const { stopIds, sampling } = await load(fixture('qwen3_5_moe'));
    expect([...stopIds].sort()).toEqual([497, 499]);
    expect(sampling).toMatchObject({ temperature: 0.6, topP: 0.95, topK: 20, minP: 0, seed: null });
  });

  it('know every stop id that any of the files or the template names', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'settings-'));
    for (const name of ['tokenizer.json', 'chat_template.jinja']) {
      await cp(join(fixture('qwen3_5_moe'), name), join(dir, name));
    }
    const config = { eos_token_id: 3, text_config: { eos_token_id: [4, 5] } };
    await writeFile(join(dir, 'config.json'), JSON.stringify(config));
    await writeFile(
      join(dir, 'generation_config.json'),
      JSON.stringify({ eos_token_id: 7, do_sample: false, temperature: 0.6 }),
    );
    await writeFile(
      join(dir, 'tokenizer_config.json'),
      JSON.stringify({ eos_token: { content: '<|endoftext|>' } }),
    );
    const { stopIds, sampling } = await load(dir);
    expect([...stopIds].sort()).toEqual([3, 4, 497, 499, 5, 7]);
    expect(sampling.temperature).toBe(0);

    for (const name of ['config.json', 'generation_config.json', 'tokenizer_config.json']) {
      await rm(join(dir, name));
    }
    expect([...(await load(dir)).stopIds]).toEqual([497]);

    await writeFile(join(dir, 'chat_template.jinja'), '{{ messages[0].content }}');
    await expect(load(dir)).rejects.toMatchObject({
      code: 'ERR_MODEL_DAMAGED',
      message: expect.stringContaining('eos_token_id') as string,
    });
    await writeFile(join(dir, 'generation_config.json'), '{"eos_token_id": 7}');
    await writeFile(join(dir, 'chat_template.jinja'), "{{ raise_exception('no') }}");
    expect([...(await load(dir)).stopIds]).toEqual([7]);
  });
});
