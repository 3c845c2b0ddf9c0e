import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  OutputParser,
  outputFormat,
  type OutputFormat,
  type ParsedOutput,
} from '../../src/engine/output-parser.js';
import type { ToolDefinition } from '../../src/engine/types.js';

const XML: OutputFormat = { reasoning: true, calls: 'function-xml' };
const OPEN = '<|im_start|>assistant\n<think>\n';
const CLOSED = '<|im_start|>assistant\n<think>\n\n</think>\n\n';
const TOOLS: ToolDefinition[] = [
  {
    name: 'weather',
    parameters: {
      type: 'object',
      properties: {
        city: { type: 'string' },
        days: { type: 'integer' },
        live: { type: 'boolean' },
        at: { type: ['number', 'null'] },
        opts: { type: 'object' },
        tags: { anyOf: [{ type: 'array' }, { type: 'string' }] },
      },
    },
  },
];

interface Result {
  reasoning: string;
  content: string;
  calls: { name: string; arguments: unknown }[];
}

function parse(
  pieces: string[],
  options: { prompt?: string; tools?: ToolDefinition[]; cut?: boolean; format?: OutputFormat } = {},
): Result {
  let calls = 0;
  const parser = new OutputParser({
    format: options.format ?? XML,
    prompt: options.prompt ?? OPEN,
    tools: options.tools ?? TOOLS,
    newCallId: () => `call_${calls++}`,
  });
  const events: ParsedOutput[] = pieces.flatMap((piece) => parser.push(piece));
  events.push(...parser.end(options.cut ?? false));
  const result: Result = { reasoning: '', content: '', calls: [] };
  for (const event of events) {
    if (event.type === 'text') {
      expect(event.text).not.toBe('');
      result[event.channel] += event.text;
    } else {
      expect(event.call.id).toBe(`call_${result.calls.length}`);
      result.calls.push({ name: event.call.name, arguments: event.call.arguments });
    }
  }
  return result;
}

const call = (body: string) => `<tool_call>\n${body}\n</tool_call>`;
const weather = (...parameters: [string, string][]) =>
  call(
    [
      '<function=weather>',
      ...parameters.map(([key, value]) => `<parameter=${key}>\n${value}\n</parameter>`),
      '</function>',
    ].join('\n'),
  );

describe('output', () => {
  it.each<[string, string, Parameters<typeof parse>[1], Partial<Result>]>([
    [
      'plan\n</think>\n\nanswer',
      'begins inside an open thinking tag',
      {},
      { reasoning: 'plan', content: 'answer' },
    ],
    [
      '<think>\nplan</think>x',
      'may repeat the thinking tag',
      {},
      { reasoning: 'plan', content: 'x' },
    ],
    [
      'answer',
      'is content after a closed thinking part',
      { prompt: CLOSED },
      { content: 'answer' },
    ],
    [
      '\n<think>a</think>b',
      'may open thinking itself',
      { prompt: CLOSED },
      { reasoning: 'a', content: 'b' },
    ],
    [
      'cut off',
      'that never leaves thinking is all reasoning',
      { cut: true },
      { reasoning: 'cut off' },
    ],
    [
      'a </think> b',
      'keeps tags that its template does not know',
      { format: { reasoning: false, calls: null } },
      { content: 'a </think> b' },
    ],
    [
      'a\n\n',
      'keeps its last newlines when no call follows',
      { prompt: CLOSED },
      { content: 'a\n\n' },
    ],
  ])('%j %s', (text, _, options, expected) => {
    const empty = { reasoning: '', content: '', calls: [] };
    expect(parse([text], options)).toEqual({ ...empty, ...expected });
    expect(parse([...text], options)).toEqual({ ...empty, ...expected });
  });
});

describe('a tool call', () => {
  it('has its arguments typed by the schema', () => {
    const text = weather(
      ['city', 'Paris'],
      ['days', '3'],
      ['live', 'True'],
      ['at', '1.5'],
      ['opts', '{"unit": "C"}'],
      ['tags', '["a", 1]'],
      ['other', '7'],
    );
    expect(parse([text], { prompt: CLOSED }).calls).toEqual([
      {
        name: 'weather',
        arguments: {
          city: 'Paris',
          days: 3,
          live: true,
          at: 1.5,
          opts: { unit: 'C' },
          tags: ['a', 1],
          other: '7',
        },
      },
    ]);
  });

  it.each([
    ['days', '2.5', '2.5'],
    ['days', '3.0', 3],
    ['days', 'three', 'three'],
    ['city', 'NULL', null],
    ['city', '3', '3'],
    ['city', '\n two lines \n', '\n two lines \n'],
    ['live', 'no', false],
    ['at', 'null', null],
    ['opts', '{broken', '{broken'],
    ['opts', '[1]', '[1]'],
    ['tags', 'plain', 'plain'],
    ['city', '</think><function=x><|im_end|>', '</think><function=x><|im_end|>'],
    ['city', 'a </tool_call> b', 'a </tool_call> b'],
    ['constructor', '1', '1'],
  ])('with %s %j has the value %j', (key, value, expected) => {
    const { calls, content } = parse([weather([key, value])], { prompt: CLOSED });
    expect(content).toBe('');
    expect(calls).toEqual([{ name: 'weather', arguments: { [key]: expected } }]);
  });

  it('may follow text and another call; whitespace around it is dropped', () => {
    const text = `plan\n${weather(['days', '1'])}\n${weather(['days', '2'])}\n`;
    const result = parse([...`hm</think>\n\nLook:\n\n${text}`]);
    expect(result.reasoning).toBe('hm');
    expect(result.content).toBe('Look:\n\nplan');
    expect(result.calls.map((one) => one.arguments)).toEqual([{ days: 1 }, { days: 2 }]);
  });

  it('inside thinking ends the thinking', () => {
    const result = parse([`so I call\n${weather(['days', '1'])}`]);
    expect(result).toMatchObject({ reasoning: 'so I call', content: '' });
    expect(result.calls).toHaveLength(1);
  });

  it.each([
    '<tool_call>\n<function=weather>\n<parameter=days>\n4\n</function>\n</tool_call>',
    '<tool_call>\n<function=weather>\n<parameter=days>\n4\n</parameter>\n</tool_call>',
    '<tool_call>\n<function=weather>\n<parameter=days>\n4\n</parameter>\n</function>\n',
    '<tool_call>\n<function=weather>\n<parameter=days>\n4',
  ])('%j is read although tags are missing', (text) => {
    expect(parse([text], { prompt: CLOSED })).toEqual({
      reasoning: '',
      content: '',
      calls: [{ name: 'weather', arguments: { days: 4 } }],
    });
  });

  it('without a function is content, every character of it', () => {
    const text = '<tool_call>\n{"name": "weather"}\n</tool_call> after';
    expect(parse([text], { prompt: CLOSED })).toMatchObject({
      content: '<tool_call>\n{"name": "weather"}\n</tool_call>after',
      calls: [],
    });
  });

  it('cut off by the token limit is content and no call', () => {
    const text = '<tool_call>\n<function=weather>\n<parameter=city>\nPar';
    expect(parse([text], { prompt: CLOSED, cut: true })).toMatchObject({
      content: text,
      calls: [],
    });
  });

  it('is text when no tools were offered', () => {
    const text = weather(['days', '1']);
    expect(parse([text], { prompt: CLOSED, tools: [] })).toMatchObject({
      content: text,
      calls: [],
    });
  });
});

describe('a stream', () => {
  it('is parsed the same however it is cut into pieces', () => {
    const parts = fc.constantFrom(
      '<think>',
      '</think>',
      weather(['days', '1']),
      '<tool_call>',
      '</tool_call>',
      ' ',
      '\n',
      'word',
      '<',
      '<function=f>',
      '<parameter=x>',
      '</parameter>',
      '</function>',
      '日本',
      '🚀',
    );
    fc.assert(
      fc.property(fc.array(parts), fc.boolean(), fc.boolean(), (words, open, cut) => {
        const options = { prompt: open ? OPEN : CLOSED, cut };
        const text = words.join('');
        expect(parse([...text], options)).toEqual(parse([text], options));
      }),
      { numRuns: 300 },
    );
  });

  it('passes text on at once when it can be no tag', () => {
    const parser = new OutputParser({
      format: XML,
      prompt: CLOSED,
      tools: TOOLS,
      newCallId: () => '',
    });
    expect(parser.push('Hello <')).toEqual([{ type: 'text', channel: 'content', text: 'Hello' }]);
    expect(parser.push('b> x')).toEqual([{ type: 'text', channel: 'content', text: ' <b> x' }]);
  });
});

describe('the output format', () => {
  it('is told by the text of the template', () => {
    const xml = "'<think>' '</think>' '<tool_call>\\n<function=' '<parameter='";
    expect(outputFormat(xml)).toEqual({ reasoning: true, calls: 'function-xml' });
    expect(outputFormat('<tool_call>{"name": …}')).toEqual({ reasoning: false, calls: null });
  });
});
