// Before the first weight: what a repository's small files must be for its model to talk. Each mutant is planned from a
// real hub; not a byte of a shard beyond its header may have been asked for.

import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installationPaths } from '../../src/store/model-files.js';
import { homePaths } from '../../src/base/paths.js';
import { HubClient } from '../../src/hub/client.js';
import { startBundledHub } from '../../src/hub/bundled-hub.js';
import { planProvisioning } from '../../src/installer/steps/planning.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import { checkSpeech } from '../../src/engine/check-speech.js';
import { testSettings } from '../helpers/hub/settings.js';
import { FIXTURE } from './provisioned.js';

type Edit = (folder: string) => Promise<void>;
interface TokenizerJson {
  model: { type?: string; vocab: Record<string, unknown> } | null;
  added_tokens: { id: number; content: string }[];
  decoder: unknown;
}

let folder = '';
beforeAll(async () => (folder = await mkdtemp(join(tmpdir(), 'fm-speech-'))));
afterAll(() => rm(folder, { recursive: true }));

const text =
  (name: string, content: string): Edit =>
  (at) =>
    writeFile(join(at, name), content);
const tokenizer =
  (change: (json: TokenizerJson) => unknown): Edit =>
  async (at) => {
    const json = JSON.parse(await readFile(join(at, 'tokenizer.json'), 'utf8')) as TokenizerJson;
    await writeFile(join(at, 'tokenizer.json'), JSON.stringify(change(json) ?? json));
  };
const template = (content: string): Edit => text('chat_template.jinja', content);
const without =
  (...names: string[]): Edit =>
  async (at) => {
    for (const name of names) await rm(join(at, name), { force: true });
  };

async function planned(
  name: string,
  edit: Edit,
): Promise<{ events: InstallEvent[]; error: unknown }> {
  const repo = join(folder, name.replace(/\W/g, '-'));
  await cp(FIXTURE, repo, { recursive: true });
  await rm(join(repo, 'golden.safetensors'));
  await edit(repo);
  const hub = await startBundledHub(repo, 'acme/tiny');
  const client = new HubClient(testSettings(hub.endpoint));
  const events: InstallEvent[] = [];
  try {
    await planProvisioning({
      ...{
        model: 'acme--tiny',
        repo: 'acme/tiny',
        revision: 'main',
        quant: '4bit',
        size: null,
        file: null,
      },
      ...{ bundled: false, client, bytesPerSecond: 0, signal: new AbortController().signal },
      paths: installationPaths(homePaths(join(folder, 'home')), 'acme--tiny', '4bit'),
      emit: (event) => events.push(event),
    });
    return { events, error: null };
  } catch (error) {
    return { events, error };
  } finally {
    client.close();
    await hub.close();
  }
}

const MUTANTS: [string, Edit, RegExp, string][] = [
  [
    'tokenizer.json missing',
    without('tokenizer.json'),
    /neither tokenizer.json nor/,
    'tokenizer.json',
  ],
  [
    'tokenizer.json null',
    text('tokenizer.json', 'null'),
    /tokenizer.json: not a JSON object/,
    'tokenizer.json',
  ],
  [
    'tokenizer.json torn',
    text('tokenizer.json', '{"model":'),
    /tokenizer.json: not JSON/,
    'tokenizer.json',
  ],
  [
    'no model in it',
    tokenizer((json) => ({ ...json, model: null })),
    /model: it is missing/,
    'model',
  ],
  [
    'a Unigram model',
    tokenizer((json) => ({ ...json, model: { type: 'Unigram', vocab: [['a', 0]] } })),
    /model.type: Unigram is not supported/,
    'model.type',
  ],
  [
    'an empty vocabulary',
    tokenizer((json) => ({ ...json, model: { ...json.model, vocab: {} } })),
    /model.vocab: it is empty/,
    'model.vocab',
  ],
  [
    'an id outside the vocabulary',
    tokenizer((json) => {
      json.added_tokens.push({ ...json.added_tokens[0], id: 99_999, content: '<|far|>' });
    }),
    /ids up to 99999, the weights have rows for \d+/,
    'tokenizer.json',
  ],
  [
    'an id that is no number',
    tokenizer((json) => {
      if (json.model !== null) json.model.vocab.a = 'x';
    }),
    /no whole number/,
    'model.vocab',
  ],
  [
    'another decoder',
    tokenizer((json) => ({ ...json, decoder: { type: 'WordPiece' } })),
    /decoder:/,
    'decoder',
  ],
  [
    'a template with a syntax error',
    template('{% if %}'),
    /can't be parsed/,
    'chat_template.jinja',
  ],
  ['an empty template', template(' \n'), /template is empty/, 'chat_template.jinja'],
  [
    'a template that throws',
    template("{{ raise_exception('never') }}"),
    /refuses: never/,
    'messages',
  ],
  [
    'a template that says nothing',
    template('{% set x = 1 %}'),
    /makes nothing of a question/,
    'chat_template',
  ],
  [
    'a torn generation_config',
    text('generation_config.json', '{'),
    /generation_config.json: not JSON/,
    'generation_config.json',
  ],
];

describe('a plan refuses, and names the field, for', () => {
  test.each(MUTANTS)('%s', async (name, edit, message, subject) => {
    const { error } = await planned(name, edit);
    expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED_MODEL' });
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toContain('no weights were fetched');
    expect(error).toMatchObject({ subject });
  });
});

test('a template that loops for ever is refused within its time', async () => {
  const loops = '{%- for i in range(99999) -%}'.repeat(4) + '{%- endfor -%}'.repeat(4);
  const given = { text: `${loops}{{ messages[0].content }}`, file: 'mine.jinja' };
  const checked = checkSpeech({
    files: FIXTURE,
    vocabSize: 512,
    template: given,
    limits: { renderMs: 500 },
  });
  await expect(checked).rejects.toThrow(
    /could not talk: the model's chat template was not done after 0.5 s/,
  );
  // A thread that is ended is replaced, and each of them loads the tokenizer.
}, 60_000);

test('a stop id that no vocabulary has ends no answer', async () => {
  const nothing: Edit = async (at) => {
    await without('tokenizer_config.json')(at);
    await template('{{ messages[0].content }}')(at);
    for (const name of ['config.json', 'generation_config.json']) {
      const json = JSON.parse(await readFile(join(at, name), 'utf8')) as Record<string, unknown>;
      const inner = (json.text_config ?? {}) as Record<string, unknown>;
      delete inner.eos_token_id;
      await text(name, JSON.stringify({ ...json, eos_token_id: 100_000 }))(at);
    }
  };
  const { error } = await planned('no stop', nothing);
  expect(error).toMatchObject({ code: 'ERR_UNSUPPORTED_MODEL', subject: 'eos_token_id' });
});

test('a model without a chat template is planned, and the plan says that it can’t chat', async () => {
  const { error, events } = await planned('no template', without('chat_template.jinja'));
  expect(error).toBeNull();
  expect(events).toContainEqual({
    type: 'notice',
    message: 'acme/tiny: it has no chat template: completions of plain text work, chat does not',
  });
});

test('a template that refuses tools is planned, and said', async () => {
  const refuses =
    "{% if tools %}{{ raise_exception('no tools') }}{% endif %}{{ messages[0].content }}";
  const { error, events } = await planned('no tools', template(refuses));
  expect(error).toBeNull();
  expect(events).toContainEqual({
    type: 'notice',
    message: "acme/tiny: tools can't be used with it: the model's chat template refuses: no tools",
  });
});
