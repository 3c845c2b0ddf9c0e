// Beginnings of prompts that are not read twice, as a client sees it: in one server, in the next, and after one that was
// killed while it saved.

import { spawnSync } from 'node:child_process';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { packed, type Packed } from '../engine/packed.js';
import { start as startProgram } from '../helpers/child.js';
import { start, type Started } from './running.js';

vi.setConfig({ testTimeout: 120_000 });

const SHIM = fileURLToPath(new URL('./programs/killed-save.c', import.meta.url));
const PROGRAM = new URL('./programs/serve-packed.ts', import.meta.url);
const ID = 'org/model';

interface Answer {
  choices: { message: { content: string } }[];
  usage: { prompt_tokens: number; prompt_tokens_details: { cached_tokens: number } };
}

const asking = (content: string) => ({
  messages: [
    { role: 'system', content: 'You are careful, brief and exact. '.repeat(10) },
    { role: 'user', content },
  ],
  max_tokens: 6,
  seed: 3,
  enable_thinking: false,
});

describe('a server that keeps states of prompts', () => {
  let model: Packed;
  let root = '';
  let notices: string[] = [];
  beforeAll(async () => {
    model = await packed('qwen3_moe');
    root = join(model.dir, 'prompts');
  });
  afterAll(() => rm(model.dir, { recursive: true }));
  beforeEach(async () => {
    notices = [];
    await rm(root, { recursive: true, force: true });
  });

  const keeping = () =>
    start(() =>
      model.open({
        id: ID,
        states: {
          root,
          maxBytes: 1e9,
          version: '1.2.3',
          now: () => Date.now(),
          notice: (error) => notices.push(error.message),
        },
      }),
    );
  const answer = async ({ post, modelSettled }: Started, content: string) => {
    await modelSettled;
    const { choices, usage } = (await (await post(asking(content))).json()) as Answer;
    return {
      said: choices[0]?.message.content,
      cached: usage.prompt_tokens_details.cached_tokens,
      tokens: usage.prompt_tokens,
    };
  };
  const fresh = async (content: string) =>
    answer(await start(() => model.open({ id: ID })), content);
  const files = () => readdir(join(root, ID));

  it('says in usage how much of a prompt it knew, also after a restart, and answers as if it knew none', async () => {
    const first = await keeping();
    expect(await answer(first, 'one?')).toMatchObject({ cached: 0 });
    const second = await answer(first, 'Something else?');
    expect(second.cached).toBeGreaterThan(0.7 * second.tokens);
    expect(second.cached).toBeLessThan(second.tokens);
    await first.close(0);

    const third = await answer(await keeping(), 'And now?');
    expect(third.cached).toBeGreaterThan(0.7 * third.tokens);
    expect(second.said).toBe((await fresh('Something else?')).said);
    expect(third.said).toBe((await fresh('And now?')).said);
    expect(notices).toEqual([]);
  });

  const reason =
    process.platform !== 'linux'
      ? 'LD_PRELOAD and /proc are Linux’s'
      : spawnSync('cc', ['--version']).status === 0
        ? null
        : 'there is no cc';
  if (reason !== null) console.log(`SKIP a server killed while it saves: ${reason}`);

  it.skipIf(reason !== null)(
    'that is killed while it saves one leaves nothing that the next would believe',
    async () => {
      const library = join(model.dir, 'killed-save.so');
      const built = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, SHIM, '-ldl']);
      expect(built.status, built.stderr.toString()).toBe(0);
      const places = [join(model.dir, 'model'), join(model.dir, 'model', 'packed_experts'), root];
      const moments = ['first', 'third', 'header'];
      for (const moment of moments) {
        const server = startProgram(PROGRAM, places, {
          LD_PRELOAD: library,
          FLASHMOE_KILL: moment,
        });
        const url = await server.line();
        const body = JSON.stringify(asking('one?'));
        // Whether the answer came first is a matter of luck.
        const asked = fetch(`${url}/v1/chat/completions`, { method: 'POST', body }).catch(
          () => null,
        );
        expect(await server.ended, moment).toBe('SIGKILL');
        await asked;
      }
      const left = await files();
      expect(left).toHaveLength(moments.length);
      expect(left.filter((name) => !name.endsWith('.partial'))).toEqual([]);

      const next = await keeping();
      const { said, cached } = await answer(next, 'one?');
      expect(cached).toBe(0);
      expect(said).toBe((await fresh('one?')).said);
      await next.close(0);
      expect((await answer(await keeping(), 'two?')).cached).toBeGreaterThan(0);
      expect(notices).toEqual([]);
    },
  );
});
