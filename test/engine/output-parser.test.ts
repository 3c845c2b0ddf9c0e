import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  OutputParser,
  outputFormat,
  type OutputFormat,
  type ParsedOutput,
} from '../../src/engine/output-parser.js';
import type { ToolDefinition } from '../../src/engine/types.js';

const XML = outputFormat("'</think>' '<tool_call>' '<function=' '<parameter='");
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
  options: {
    prompt?: string;
    tools?: ToolDefinition[];
    cut?: boolean;
    format?: OutputFormat;
    ids?: string[];
    raw?: boolean;
    anyIds?: boolean;
  } = {},
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
    } else if (event.type === 'call-begin') {
      if (options.anyIds !== true)
        expect(event.id).toBe(options.ids?.[result.calls.length] ?? `call_${result.calls.length}`);
      result.calls.push({ name: event.name, arguments: '' });
    } else {
      const call = result.calls.at(-1);
      if (call === undefined || typeof call.arguments !== 'string') throw new Error('no open call');
      if (event.type === 'call-arguments') {
        expect(event.json).not.toBe('');
        call.arguments += event.json;
      } else
        call.arguments = options.raw ? call.arguments : (JSON.parse(call.arguments) as unknown);
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
      { format: outputFormat('') },
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
    ['city', 'NULL', 'NULL'],
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

  it('cut off by the token limit keeps what there was of its arguments, and does not end', () => {
    const text = '<tool_call>\n<function=weather>\n<parameter=city>\nPar';
    expect(parse([text], { prompt: CLOSED, cut: true })).toMatchObject({
      content: '',
      calls: [{ name: 'weather', arguments: '{"city":"Par' }],
    });
  });

  it('cut off before its name is content', () => {
    const text = '<tool_call>\n<function=weath';
    expect(parse([text], { prompt: CLOSED, cut: true })).toMatchObject({
      content: text,
      calls: [],
    });
  });

  it('passes a long text on while it comes', () => {
    const parser = new OutputParser({
      format: XML,
      prompt: CLOSED,
      tools: TOOLS,
      newCallId: () => 'id',
    });
    const pieces = [
      '<tool_call>\n<function=weather>',
      '\n<parameter=city>\nNew ',
      'York "',
      '\nCity',
    ];
    expect(pieces.map((piece) => parser.push(piece))).toEqual([
      [{ type: 'call-begin', id: 'id', name: 'weather' }],
      [
        { type: 'call-arguments', json: '{"city":"' },
        { type: 'call-arguments', json: 'New ' },
      ],
      [{ type: 'call-arguments', json: 'York \\"' }],
      [{ type: 'call-arguments', json: '\\nCity' }],
    ]);
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
      {
        numRuns: 300,
        examples: [
          [['<tool_call>', '<function=f>', '<parameter=x>', '\n', '</function>'], false, false],
        ],
      },
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

const BARS = "'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' '<｜tool▁sep｜>'";
const FORMS = {
  'json-envelope': outputFormat(`'<tool_call>' '{"name": ' '"arguments": '`),
  'fenced-json': outputFormat(BARS + '```json'),
  'inline-json': outputFormat(BARS),
  'numbered-json': outputFormat("'<|tool_call_begin|>' '<|tool_call_argument_begin|>'"),
};
type FormName = keyof typeof FORMS;

const WRITE: Record<FormName, (calls: [string, string][]) => string> = {
  'json-envelope': (calls) =>
    calls
      .map(([name, json]) => `<tool_call>\n{"name": "${name}", "arguments": ${json}}\n</tool_call>`)
      .join('\n'),
  'fenced-json': (calls) =>
    `<｜tool▁calls▁begin｜>${calls
      .map(
        ([name, json]) =>
          `<｜tool▁call▁begin｜>function<｜tool▁sep｜>${name}\n\`\`\`json\n${json}\n\`\`\`<｜tool▁call▁end｜>`,
      )
      .join('\n')}<｜tool▁calls▁end｜>`,
  'inline-json': (calls) =>
    `<｜tool▁calls▁begin｜>${calls
      .map(([name, json]) => `<｜tool▁call▁begin｜>${name}<｜tool▁sep｜>${json}<｜tool▁call▁end｜>`)
      .join('')}<｜tool▁calls▁end｜>`,
  'numbered-json': (calls) =>
    `<|tool_calls_section_begin|>${calls
      .map(
        ([name, json], i) =>
          `<|tool_call_begin|>functions.${name}:${i}<|tool_call_argument_begin|>${json}<|tool_call_end|>`,
      )
      .join('')}<|tool_calls_section_end|>`,
};

describe.each(Object.keys(FORMS) as FormName[])('calls written as %s', (name) => {
  const format = FORMS[name];
  const ids = name === 'numbered-json' ? ['functions.weather:0', 'functions.weather:1'] : [];
  const read = (text: string, more: Parameters<typeof parse>[1] = {}) => {
    const options = { prompt: '', format, ids, ...more };
    const whole = parse([text], options);
    expect(parse([...text], options)).toEqual(whole);
    return whole;
  };
  const write = WRITE[name];

  it('are told by the text of the template', () => expect(format.calls?.name).toBe(name));

  it('have a name and arguments, one after the other, text before them', () => {
    const text = write([
      ['weather', '{"city": "Paris", "days": 3, "opts": {"a": [1, {}]}}'],
      ['weather', '{}'],
    ]);
    expect(read(`Let me see.\n\n${text}\n`)).toEqual({
      reasoning: '',
      content: 'Let me see.',
      calls: [
        { name: 'weather', arguments: { city: 'Paris', days: 3, opts: { a: [1, {}] } } },
        { name: 'weather', arguments: {} },
      ],
    });
  });

  it.each([
    ['{"days": "3"}', { days: 3 }],
    ['{"city": 75001}', { city: '75001' }],
    ['{"live": "true"}', { live: true }],
    ['{"at": null}', { at: null }],
    ['{"opts": "{\\"a\\": 1}"}', { opts: { a: 1 } }],
    ['{"tags": "x"}', { tags: 'x' }],
    ['{"city": "two\nlines"}', { city: 'two\nlines' }],
    ['{"city": "</tool_call><|tool_call_end|>"}', { city: '</tool_call><|tool_call_end|>' }],
    ['{"city": "<｜tool▁call▁end｜> \\" }"}', { city: '<｜tool▁call▁end｜> " }' }],
    ['{ "other" : 1e3 , "more":[ "]" ] }', { other: 1000, more: [']'] }],
  ])('with %s have the arguments %j', (json, expected) => {
    const { calls, content } = read(write([['weather', json]]));
    expect(content).toBe('');
    expect(calls).toEqual([{ name: 'weather', arguments: expected }]);
  });

  it('that are no JSON are content, every character of it', () => {
    const text = write([['weather', '{city: Paris}']]);
    const { calls, content } = read(text);
    expect(calls).toEqual([]);
    const inner = text.replace(/^<[^<>]*(?:section_begin|calls▁begin)[^<>]*>/, '');
    expect(inner.replace(/<[^<>]*(?:section_end|calls▁end)[^<>]*>$/, '')).toBe(content);
  });

  it('that break after they began hand on text that is no JSON either', () => {
    const { calls } = read(write([['weather', '{"days": 1, oops}']]), { raw: true });
    expect(calls).toHaveLength(1);
    expect(() => JSON.parse(calls[0]?.arguments as string) as unknown).toThrow();
  });

  it('may lack the end of their section', () => {
    const text = write([['weather', '{"days": 1}']]).replace(
      /<[^<>]*(section_end|calls▁end)[^<>]*>/,
      '',
    );
    expect(read(text).calls).toEqual([{ name: 'weather', arguments: { days: 1 } }]);
  });

  it('are parsed the same however the stream is cut', () => {
    const call = write([['weather', '{"days": 1, "city": "x"}']]);
    const tags = [...(format.calls?.markers ?? []), format.calls?.open ?? '', '{', '"', ':', '}'];
    const words = fc.array(fc.constantFrom(call, 'weather', ' ', '\n', 'word', '<', ...tags));
    fc.assert(
      fc.property(
        words,
        fc.array(fc.nat(30), { minLength: 1 }),
        fc.boolean(),
        (parts, cuts, cut) => {
          const text = parts.join('');
          const pieces: string[] = [];
          for (let at = 0, i = 0; at < text.length; i++) {
            const length = 1 + (cuts[i % cuts.length] ?? 0);
            pieces.push(text.slice(at, at + length));
            at += length;
          }
          const options = { prompt: '', format, cut, raw: true, anyIds: true };
          expect(parse(pieces, options)).toEqual(parse([text], options));
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('the output format', () => {
  it('has no calls where the template writes none that are read', () => {
    expect(outputFormat("'</think>'")).toMatchObject({ reasoning: true, calls: null });
    expect(outputFormat("'<tool_call>'")).toMatchObject({ reasoning: false, calls: null });
  });
});

describe('a text that may be null', () => {
  const parameters = { type: 'object', properties: { a: { type: ['string', 'null'] } } };

  it.each([
    ['null', null],
    ['nullable', 'nullable'],
    ['', ''],
  ])('is read from %j however its end is cut into pieces', (value, expected) => {
    const text = `</think>\n<tool_call>\n<function=f>\n<parameter=a>\n${value}\n</parameter>\n</function>\n</tool_call>`;
    const { calls } = parse([...text], { tools: [{ name: 'f', parameters }] });
    expect(calls).toEqual([{ name: 'f', arguments: { a: expected } }]);
  });
});
