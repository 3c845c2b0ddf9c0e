// Answers of a real, tiny, untrained model: it would say anything, so what it says is the grammar's doing.

import { rm } from 'node:fs/promises';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callForm } from '../../src/engine/calls/form.js';
import { answerValidator } from '../../src/engine/grammar/check.js';
import { GrammarHost } from '../../src/engine/grammar/host.js';
import { answerTag } from '../../src/engine/grammar/tags.js';
import { newParser, outputFormat } from '../../src/engine/output-parser.js';
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

const BARS = "'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' '<｜tool▁sep｜>'";
const TEMPLATES = {
  'function-xml': "'<tool_call>' '<function=' '<parameter='",
  'json-envelope': `'<tool_call>' '"arguments": '`,
  'fenced-json': BARS + '```json',
  'inline-json': BARS,
  'numbered-json': "'<|tool_call_begin|>' '<|tool_call_argument_begin|>'",
  'keys and values on lines': "'<tool_call>' '<arg_key>' '</arg_key>\\n<arg_value>'",
  'keys and values': "'<tool_call>' '<arg_key>' '</arg_key><arg_value>'",
  invokes: "'<minimax:tool_call>' '<invoke name='",
  'invokes with marks': "'<｜DSML｜function_calls>'",
  harmony: "'<|channel|>' '<|message|>'",
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

  /** What is drawn from a grammar, as the parser reads it. */
  async function drawn(
    request: Parameters<typeof answerTag>[0],
  ): Promise<{ name: string; json: string; text: string }> {
    const tokenizer = await loadTokenizer(fixture('qwen3_5_moe'));
    const run = await host.start(answerTag(request, callForm(template), false) ?? {}, never);
    const format = outputFormat(template);
    const { tools } = request;
    const parser = newParser({ format, prompt: '', tools, newCallId: () => 'id' });
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
    run.release();
    const text = Buffer.from(bytes).toString();
    for (const part of [...parser.push(text), ...parser.end(false)]) {
      if (part.type === 'call-begin') name = part.name;
      else if (part.type === 'call-arguments') json += part.json;
      else if (part.type === 'text') throw new Error(`said ${text}`);
    }
    return { name, json, text };
  }

  it('lets nothing be said but calls that are read, with arguments of the schema', async () => {
    for (const toolChoice of ['required', { name: 'weather' }] as const) {
      const { name, json } = await drawn({ tools: TOOLS, toolChoice, parallelToolCalls: false });
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

  it.each<[string, object]>([
    ['allOf with values', { allOf: [{ type: 'string', enum: ['x', 'y'] }] }],
    ['values or null', { anyOf: [{ type: 'string', enum: ['x', 'y'] }, { type: 'null' }] }],
    [
      'a pattern or null',
      { anyOf: [{ type: 'string', pattern: '^[0-9]{1,9}$' }, { type: 'null' }] },
    ],
    ['values with the marks of the form', { enum: ['x\ny', 'z\n</parameter>\n'] }],
    ['texts that look like other values', { enum: ['null', 'true', '5', 5, null, '{}'] }],
    ['a text beside a bound', { type: ['string', 'integer'], minimum: 7, maxLength: 3 }],
    ['a reference', { $ref: '#/$defs/d' }],
    ['a short text', { type: 'string', minLength: 1, maxLength: 4 }],
    ['numbers between bounds', { type: 'number', exclusiveMinimum: 0, maximum: 0.5 }],
  ])('holds a strict tool to %s', async (_, a) => {
    const $defs = { d: { type: 'array', items: { const: 1 }, minItems: 1, maxItems: 3 } };
    const parameters = { type: 'object', properties: { a }, required: ['a'], $defs };
    const validate = new Ajv2020({ strict: false }).compile(parameters);
    const tools = [
      { name: 'f', strict: true, parameters: { ...parameters, additionalProperties: false } },
    ];
    for (let i = 0; i < 4; i++) {
      const { json, text } = await drawn({
        tools,
        toolChoice: 'required',
        parallelToolCalls: false,
      });
      // Bytes that are no UTF-8 count as one character for the library: only the check of an answer sees those.
      if (!text.includes('\ufffd')) expect(validate(JSON.parse(json)), text).toBe(true);
    }
  });
});

describe('a grammar for an answer in Harmony', () => {
  it('has JSON of a schema in a final message, behind a thought or without one', async () => {
    const tokenizer = await loadTokenizer(fixture('qwen3_5_moe'));
    const host = new GrammarHost(tokenizer, new Set([497]), new Set());
    const template = TEMPLATES.harmony;
    const request = { tools: [], format: { type: 'json-schema' as const, schema: SCHEMA } };
    const run = await host.start(answerTag(request, callForm(template), true) ?? {}, never);
    const said: number[] = [];
    const say = async (text: string): Promise<void> => {
      for (const byte of Buffer.from(text)) {
        const id = Array.from({ length: tokenizer.tokenLimit }, (__, i) => i).find(
          (each) => tokenizer.bytes(each).length === 1 && tokenizer.bytes(each)[0] === byte,
        );
        if (id === undefined) throw new Error(`no token for ${byte}`);
        const mask = await run.mask();
        expect(((mask?.[id >> 5] ?? 0) >> (id & 31)) & 1, text.slice(0, 20)).toBe(1);
        run.accept(id);
        said.push(byte);
      }
    };
    await say('<|channel|>analysis<|message|>');
    // The thought and its end are not the grammar's.
    await say('<|start|>assistant<|channel|>final<|message|>{"ok": true, "n": 42}');
    const text = Buffer.from(said).toString().replace('<|start|>', 'Hm.<|end|><|start|>');
    const parser = newParser({
      ...{ format: outputFormat(template), prompt: '<|start|>assistant', tools: [] },
      newCallId: () => 'id',
    });
    expect([...parser.push(text), ...parser.end(false)]).toEqual([
      { type: 'text', channel: 'reasoning', text: 'Hm.' },
      { type: 'text', channel: 'content', text: '{"ok": true, "n": 42}' },
    ]);
    run.release();
    await host.close();
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
    const schema = { type: 'object', properties: { a: { contains: {} } } };
    await expect(ask({ format: { type: 'json-schema', schema } })).rejects.toMatchObject({
      code: 'ERR_GRAMMAR',
      subject: 'schema.properties.a.contains',
    });
    const tools = [{ name: 'f', strict: true, parameters: schema }];
    await expect(ask({ tools })).rejects.toMatchObject({ code: 'ERR_GRAMMAR' });
    const { content } = await ask({ format: { type: 'json-schema', schema: SCHEMA } });
    expect(JSON.parse(content)).toHaveProperty('ok');
  });

  it('does not call an answer done that is not what its schema says', async () => {
    const items = { enum: ['x'] };
    const schema = { type: 'array', items, minItems: 2, maxItems: 2, uniqueItems: true };
    await expect(ask({ format: { type: 'json-schema', schema } })).rejects.toMatchObject({
      code: 'ERR_ANSWER',
    });
  });

  it('checks each pattern of a schema by itself', () => {
    const properties = { a: { type: 'string', pattern: '^[0-9]+$' }, b: { pattern: '^x' } };
    const schema = { type: 'object', properties };
    const check = answerValidator({ tools: [], format: { type: 'json-schema', schema } });
    const fault = (said: object) => check?.({ content: JSON.stringify(said), calls: [] });
    expect(fault({ a: '12', b: 'xy' })).toBeNull();
    expect(fault({ a: 'null' })).toContain('/a');
    expect(fault({ a: '12', b: '12' })).toContain('/b');
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
