// Answers of a real, tiny, untrained model: it would say anything, so what it says is the grammar's doing.

import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callForm } from '../../src/engine/calls/form.js';
import { GrammarHost } from '../../src/engine/grammar/host.js';
import { enforceable } from '../../src/engine/grammar/schema.js';
import { answerTag } from '../../src/engine/grammar/tags.js';
import { OutputParser, outputFormat } from '../../src/engine/output-parser.js';
import { loadTokenizer } from '../../src/engine/tokenizer.js';
import type { ChatRequest, Engine, GenerateEvent, ToolDefinition } from '../../src/engine/types.js';
import { fixture } from './fixtures.js';
import { packed, type Packed } from './packed.js';

const TOOLS: ToolDefinition[] = [
  {
    name: 'weather',
    parameters: {
      type: 'object',
      properties: {
        city: { enum: ['Paris', 'Rome'] },
        days: { type: 'integer', minimum: 1, maximum: 9 },
      },
      required: ['city', 'days'],
      additionalProperties: false,
    },
  },
  { name: 'now' },
];
const SCHEMA = {
  type: 'object',
  properties: { ok: { type: 'boolean' }, n: { type: 'integer', minimum: 10, maximum: 99 } },
  required: ['ok', 'n'],
  additionalProperties: false,
};

describe('a schema', () => {
  const problems = (schema: unknown): string[] => {
    const found: string[] = [];
    enforceable(schema, 's', (path) => found.push(path));
    return found;
  };

  it.each([
    [{ properties: { a: { not: {} } } }, 's.properties.a.not'],
    [{ items: { multipleOf: 2 } }, 's.items.multipleOf'],
    [{ uniqueItems: true }, 's.uniqueItems'],
    [{ pattern: '(?=a)b' }, 's.pattern'],
    [{ pattern: 'a"b' }, 's.pattern'],
    [{ pattern: '[^a]' }, 's.pattern'],
    [{ pattern: 'a', maxLength: 3 }, 's.maxLength'],
    [{ format: 'color' }, 's.format'],
    [{ type: 'number', minimum: 1 }, 's.minimum'],
    [{ maxLength: 65536 }, 's.maxLength'],
    [{ $ref: '#/$defs/none' }, 's.$ref'],
    [{ $defs: { a: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }, 's.$ref'],
    [{ allOf: [{}, {}] }, 's.allOf'],
    [{ required: ['b'], properties: {} }, 's.required'],
    [{ anyOf: [{}], properties: {} }, 's.properties'],
    [{ oneOf: [{ type: 'integer' }, { type: 'number' }] }, 's.oneOf'],
    [false, 's'],
  ])('%j is not enforced at %s', (schema, path) => expect(problems(schema)).toContain(path));

  it('has both its bounds where it named one, and its pattern whole', () => {
    const read = (schema: object) => enforceable(schema, 's', () => undefined);
    expect(read({ type: 'integer', exclusiveMinimum: 4 })).toMatchObject({
      minimum: 5,
      maximum: Number.MAX_SAFE_INTEGER,
    });
    expect(read({ pattern: '^a.' })).toEqual({
      pattern: '(a[^"\\\\\\x00-\\x1f])[^"\\\\\\x00-\\x1f]*',
    });
  });
});

const BARS = "'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' '<｜tool▁sep｜>'";
const TEMPLATES = {
  'function-xml': "'<tool_call>' '<function=' '<parameter='",
  'json-envelope': `'<tool_call>' '"arguments": '`,
  'fenced-json': BARS + '```json',
  'inline-json': BARS,
  'numbered-json': "'<|tool_call_begin|>' '<|tool_call_argument_begin|>'",
};

describe.each(Object.entries(TEMPLATES))('a grammar for calls as %s', (_, template) => {
  let host: GrammarHost;
  let random = 1;
  beforeAll(async () => {
    const tokenizer = await loadTokenizer(fixture('qwen3_5_moe'));
    host = new GrammarHost(tokenizer, new Set([497]), new Set());
    random = 1;
  });
  afterAll(() => host.close());

  it('lets nothing be said but calls that are read, with arguments of the schema', async () => {
    const tokenizer = await loadTokenizer(fixture('qwen3_5_moe'));
    for (const toolChoice of ['required', { name: 'weather' }] as const) {
      const tag = answerTag(
        { tools: TOOLS, toolChoice, parallelToolCalls: false },
        callForm(template),
        false,
      );
      const run = await host.start(tag ?? {}, never);
      const format = outputFormat(template);
      const parser = new OutputParser({ format, prompt: '', tools: TOOLS, newCallId: () => 'id' });
      let name = '';
      let json = '';
      const bytes: number[] = [];
      for (let i = 0; i < 600; i++) {
        const mask = await run.mask();
        const allowed = Array.from({ length: tokenizer.tokenLimit }, (__, id) => id).filter(
          (id) => ((mask?.[id >> 5] ?? 0) >> (id & 31)) & 1,
        );
        expect(allowed.length).toBeGreaterThan(0);
        if (allowed.includes(497)) break;
        random = (random * 48271) % 2147483647;
        const id = allowed[random % allowed.length] ?? 0;
        bytes.push(...tokenizer.bytes(id));
        run.accept(id);
      }
      const text = Buffer.from(bytes).toString();
      for (const part of [...parser.push(text), ...parser.end(false)]) {
        if (part.type === 'call-begin') name = part.name;
        else if (part.type === 'call-arguments') json += part.json;
        else if (part.type === 'text') throw new Error(`said ${text}`);
      }
      run.release();
      if (typeof toolChoice === 'object') expect(name).toBe('weather');
      const value = JSON.parse(json) as { city: string; days: number };
      if (name === 'now') expect(value).toEqual({});
      else {
        expect(['Paris', 'Rome']).toContain(value.city);
        expect(value.days).toBeGreaterThanOrEqual(1);
        expect(value.days).toBeLessThanOrEqual(9);
      }
    }
  });
});

const never = new AbortController().signal;

describe('an engine with a grammar', () => {
  let model: Packed;
  let engine: Engine;
  beforeAll(async () => {
    model = await packed('qwen3_5_moe');
    engine = await model.open();
  });
  afterAll(async () => {
    await engine.close();
    await rm(model.dir, { recursive: true });
  });

  const ask = async (more: Partial<ChatRequest>) => {
    const request: ChatRequest = {
      messages: [{ role: 'user', content: 'hi' }],
      tools: [],
      thinking: false,
      maxTokens: 300,
      stop: [],
      sampling: { temperature: 1, seed: 5 },
      ...more,
    };
    await engine.countTokens(request);
    const events: GenerateEvent[] = [];
    for await (const event of engine.chat(request, new AbortController().signal))
      events.push(event);
    const finish = events.at(-1);
    if (finish?.type !== 'finish') throw new Error('no finish');
    const content = events
      .flatMap((e) => (e.type === 'text' && e.channel === 'content' ? [e.text] : []))
      .join('');
    return { events, content, finish };
  };

  it('answers in JSON of the schema, and tells what the masks cost', async () => {
    const { content, finish } = await ask({ format: { type: 'json-schema', schema: SCHEMA } });
    const value = JSON.parse(content) as { ok: boolean; n: number };
    expect(Object.keys(value)).toEqual(['ok', 'n']);
    expect(typeof value.ok).toBe('boolean');
    expect(value.n).toBeGreaterThanOrEqual(10);
    expect(value.n).toBeLessThanOrEqual(99);
    expect(finish.reason).toBe('stop');
    expect(finish.timings.grammar?.masks).toBe(finish.usage.completionTokens);
  });

  it('calls a tool when it has to', async () => {
    const { events, content, finish } = await ask({
      tools: TOOLS,
      toolChoice: 'required',
      parallelToolCalls: false,
    });
    expect(content).toBe('');
    expect(finish.reason).toBe('tool_calls');
    expect(events.some((e) => e.type === 'tool-call')).toBe(true);
  });

  it('refuses a schema that cannot be held, naming what, and answers after it', async () => {
    const schema = { type: 'object', properties: { a: { not: {} } } };
    await expect(ask({ format: { type: 'json-schema', schema } })).rejects.toMatchObject({
      code: 'ERR_GRAMMAR',
      subject: 'schema.properties.a.not',
    });
    const tools = [{ name: 'f', strict: true, parameters: schema }];
    await expect(ask({ tools })).rejects.toMatchObject({ code: 'ERR_GRAMMAR' });
    const { content } = await ask({ format: { type: 'json-schema', schema: SCHEMA } });
    expect(JSON.parse(content)).toHaveProperty('ok');
  });

  it('outlives a grammar that the library aborts on', async () => {
    const tokenizer = await loadTokenizer(fixture('qwen3_5_moe'));
    const host = new GrammarHost(tokenizer, new Set([497]), new Set());
    const bad = { type: 'structural_tag', format: { type: 'regex', pattern: '(?=a)b' } };
    await expect(host.start(bad, never)).rejects.toMatchObject({ code: 'ERR_GRAMMAR' });
    const good = { type: 'structural_tag', format: { type: 'const_string', value: 'x' } };
    expect(await (await host.start(good, never)).mask()).toBeInstanceOf(Int32Array);
    await host.close();
  });
});
