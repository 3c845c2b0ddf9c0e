// Call forms of GLM, MiniMax, DeepSeek V3.2 and gpt-oss, and what others stumbled over in them. Each answer is also read
// character by character: where pieces end must not matter.

import { describe, expect, test } from 'vitest';
import { newParser, outputFormat } from '../../src/engine/output-parser.js';
import type { ToolDefinition } from '../../src/engine/types.js';

const TOOLS: ToolDefinition[] = [
  {
    name: 'get_rain',
    parameters: {
      type: 'object',
      properties: {
        town: { type: 'string' },
        days: { type: 'integer' },
        live: { type: 'boolean' },
        at: { type: ['number', 'null'] },
        options: { type: 'object' },
      },
    },
  },
  {
    name: 'grep_tool',
    parameters: { type: 'object', properties: { pattern: { type: 'string' } } },
  },
];

interface Read {
  reasoning: string;
  content: string;
  calls: { name: string; arguments: unknown }[];
}

function read(template: string, answer: string, { prompt = '', cut = false } = {}): Read {
  const once = parsed(template, [answer], prompt, cut);
  expect(parsed(template, [...answer], prompt, cut)).toEqual(once);
  return once;
}

function parsed(template: string, pieces: string[], prompt: string, cut: boolean): Read {
  const format = outputFormat(template);
  const parser = newParser({ format, prompt, tools: TOOLS, newCallId: () => 'id' });
  const found: Read = { reasoning: '', content: '', calls: [] };
  let json = '';
  for (const event of [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end(cut)]) {
    if (event.type === 'text') found[event.channel] += event.text;
    else if (event.type === 'call-begin') {
      found.calls.push({ name: event.name, arguments: null });
      json = '';
    } else if (event.type === 'call-arguments') json += event.json;
    else {
      const call = found.calls.at(-1);
      if (call) call.arguments = JSON.parse(json) as unknown;
    }
  }
  return found;
}

describe('GLM', () => {
  const NEW = "'<think>' '</think>' '<tool_call>' '<arg_key>' '</arg_key><arg_value>'";
  const rain = { name: 'get_rain', arguments: { town: 'Ulm', days: 3 } };

  test('calls with and without lines are read, several in a row, and text around them stays', () => {
    const spaced =
      'Wait.\n<tool_call>get_rain\n<arg_key>town</arg_key>\n<arg_value>Ulm</arg_value>\n' +
      '<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>';
    const close =
      '<tool_call>get_rain<arg_key>town</arg_key><arg_value>Ulm</arg_value>' +
      '<arg_key>days</arg_key><arg_value>3</arg_value></tool_call>';
    expect(read(NEW, spaced + close)).toEqual({
      reasoning: '',
      content: 'Wait.',
      calls: [rain, rain],
    });
  });

  test('a call inside of a thought ends the thought', () => {
    const answer =
      'I need rain<tool_call>get_rain<arg_key>town</arg_key><arg_value>Ulm</arg_value></tool_call>';
    const { reasoning, calls } = read(NEW, answer, { prompt: '<think>' });
    expect({ reasoning, count: calls.length }).toEqual({ reasoning: 'I need rain', count: 1 });
  });

  test('text is kept byte for byte, with closing tags of the call and what looks like JSON in it', () => {
    const value = '  {"a": 1}</tool_call>\n null ';
    const answer = `<tool_call>get_rain<arg_key>town</arg_key><arg_value>${value}</arg_value></tool_call>`;
    expect(read(NEW, answer).calls).toEqual([{ name: 'get_rain', arguments: { town: value } }]);
  });

  test('a call without arguments gives an empty object', () => {
    const call = { name: 'get_rain', arguments: {} };
    expect(read(NEW, '<tool_call>get_rain</tool_call>').calls).toEqual([call]);
    expect(read(NEW, '<tool_call>get_rain\n</tool_call>').calls).toEqual([call]);
  });

  test('a missing <arg_value> loses no value, a missing <arg_key> no name', () => {
    const bare = '<tool_call>get_rain<arg_key>town</arg_key>Ulm</arg_value></tool_call>';
    expect(read(NEW, bare).calls).toEqual([{ name: 'get_rain', arguments: { town: 'Ulm' } }]);
    const glued = '<tool_call>grep_toolpattern</arg_key><arg_value>x+</arg_value></tool_call>';
    expect(read(NEW, glued).calls).toEqual([{ name: 'grep_tool', arguments: { pattern: 'x+' } }]);
  });

  test('types come from the schema; an argument that it does not know is JSON or text', () => {
    const argument = (key: string, value: string) =>
      `<arg_key>${key}</arg_key><arg_value>${value}</arg_value>`;
    const all = [
      argument('live', 'true') + argument('at', 'null') + argument('options', '{"a":[1]}'),
      argument('other', '[2]') + argument('more', 'two'),
    ].join('');
    expect(read(NEW, `<tool_call>get_rain${all}</tool_call>`).calls[0]?.arguments).toEqual({
      ...{ live: true, at: null, options: { a: [1] } },
      ...{ other: [2], more: 'two' },
    });
  });
});

describe('MiniMax', () => {
  const TEMPLATE = "'<think>' '</think>' '<minimax:tool_call>' '<invoke name='";

  test('several invokes of one block, names in quotes or without, and a forgotten closing tag', () => {
    const answer =
      'Now.\n<minimax:tool_call>\n<invoke name="get_rain">\n<parameter name="town">Ulm</parameter>\n' +
      '<parameter name="options">{"a": true}</parameter>\n</invoke>\n' +
      "<invoke name='grep_tool'>\n<parameter name=pattern>a\n</invoke>\n</minimax:tool_call>";
    expect(read(TEMPLATE, answer, { prompt: '' })).toEqual({
      reasoning: '',
      content: 'Now.',
      calls: [
        { name: 'get_rain', arguments: { town: 'Ulm', options: { a: true } } },
        { name: 'grep_tool', arguments: { pattern: 'a' } },
      ],
    });
  });

  test('the word null stays text where the schema says text', () => {
    const answer =
      '<minimax:tool_call>\n<invoke name="get_rain">\n<parameter name="town">null</parameter>\n' +
      '<parameter name="at">null</parameter>\n</invoke>\n</minimax:tool_call>';
    expect(read(TEMPLATE, answer).calls[0]?.arguments).toEqual({ town: 'null', at: null });
  });
});

describe('DeepSeek V3.2', () => {
  const TEMPLATE = "'<think>' '</think>' '<｜DSML｜function_calls>'";
  const block = (parameters: string) =>
    `<｜DSML｜function_calls>\n<｜DSML｜invoke name="get_rain">\n${parameters}</｜DSML｜invoke>\n</｜DSML｜function_calls>`;

  test('the attribute says what is text and what is JSON', () => {
    const parameters =
      '<｜DSML｜parameter name="town" string="true">12</｜DSML｜parameter>\n' +
      '<｜DSML｜parameter name="days" string="false">12</｜DSML｜parameter>\n';
    expect(read(TEMPLATE, `Yes.\n\n${block(parameters)}`)).toEqual({
      reasoning: '',
      content: 'Yes.',
      calls: [{ name: 'get_rain', arguments: { town: '12', days: 12 } }],
    });
  });

  test('an empty invoke is a call, and a forgotten bar is forgiven', () => {
    expect(read(TEMPLATE, block('')).calls).toEqual([{ name: 'get_rain', arguments: {} }]);
    const bare = '<parameter name="town" string="true">Ulm</parameter>\n';
    expect(read(TEMPLATE, block(bare)).calls[0]?.arguments).toEqual({ town: 'Ulm' });
  });
});

describe('Harmony', () => {
  const TEMPLATE = "'<|start|>' '<|channel|>' '<|message|>'";
  const prompt = '<|start|>user<|message|>Hi<|end|><|start|>assistant';
  const call =
    '<|channel|>commentary to=functions.get_rain <|constrain|>json<|message|>{"town":"Ulm"}';

  test('analysis is thought, final is the answer, a preamble is content', () => {
    const answer =
      '<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>Well.<|end|>' +
      '<|start|>assistant<|channel|>final<|message|>Done.';
    expect(read(TEMPLATE, answer, { prompt })).toEqual({
      reasoning: 'Hm.',
      content: 'Well.Done.',
      calls: [],
    });
  });

  test.each([
    ['ended by its token', `${call}<|call|>`],
    ['ended by the end of the answer', call],
    [
      'with its recipient first',
      ` to=functions.get_rain<|channel|>commentary json<|message|>{"town":"Ulm"}`,
    ],
    [
      'with junk in its header',
      `<|channel|>commentary? to=functions.get_rain code<|message|>{"town":"Ulm"}`,
    ],
  ])('a call %s is read', (_, answer) => {
    const thought = '<|channel|>analysis<|message|>Rain?<|end|><|start|>assistant';
    expect(read(TEMPLATE, thought + answer, { prompt })).toEqual({
      reasoning: 'Rain?',
      content: '',
      calls: [{ name: 'get_rain', arguments: { town: 'Ulm' } }],
    });
  });

  test('what is no declared function, or no JSON, is no call', () => {
    const python = '<|channel|>analysis to=python code<|message|>1+1<|call|>';
    expect(read(TEMPLATE, python, { prompt })).toMatchObject({ reasoning: '1+1', calls: [] });
    const broken = call.replace('"Ulm"}', '');
    expect(read(TEMPLATE, `${broken}<|call|>`, { prompt })).toMatchObject({
      content: '{"town":',
      calls: [],
    });
  });

  test('an answer whose message mark is missing is not lost', () => {
    expect(read(TEMPLATE, '<|channel|>final It rains.', { prompt }).content).toBe('It rains.');
  });

  test('an answer goes on where the prompt ends inside of a message', () => {
    const open = `${prompt}<|channel|>analysis<|message|>Let me`;
    expect(read(TEMPLATE, ' see.<|end|>', { prompt: open }).reasoning).toBe(' see.');
  });
});

describe('Kimi', () => {
  const NUMBERED =
    "'<think>' '</think>' '<|tool_calls_section_begin|>' '<|tool_call_begin|>' '<|tool_call_argument_begin|>'";
  const ARGUMENT = '<|tool_call_argument_begin|>';
  const rain = [{ name: 'get_rain', arguments: { town: 'Ulm' } }];
  const section = (id: string, json: string, s = 's'): string =>
    `<|tool_call${s}_section_begin|><|tool_call_begin|>${id}${ARGUMENT}${json}<|tool_call_end|><|tool_call${s}_section_end|>`;

  test('a section is read under both names that models give it', () => {
    for (const s of ['s', '']) {
      const got = read(NUMBERED, `Wait.${section('functions.get_rain:0', '{"town":"Ulm"}', s)}`);
      expect(got).toEqual({ reasoning: '', content: 'Wait.', calls: rain });
    }
  });

  test('ids without separators are read where they name a declared function, and nothing else is', () => {
    for (const id of ['functionsget_rain5', 'functions.get_rain', 'get_rain:12']) {
      expect(read(NUMBERED, section(id, '{"town":"Ulm"}')).calls, id).toEqual(rain);
    }
    expect(read(NUMBERED, section('functionsother5', '{"town":"Ulm"}')).calls).toEqual([]);
  });

  test('arguments as a quoted text are unquoted once', () => {
    const quoted = JSON.stringify('{"town":"Ulm"}');
    expect(read(NUMBERED, section('functions.get_rain:0', quoted)).calls).toEqual(rain);
    expect(read(NUMBERED, section('functions.get_rain:0', JSON.stringify('Ulm {'))).calls).toEqual(
      [],
    );
  });

  test('a call without arguments gives an empty object, and one inside of a thought ends the thought', () => {
    expect(read(NUMBERED, section('functions.get_rain:0', '')).calls).toEqual([
      { name: 'get_rain', arguments: {} },
    ]);
    const inside = `<think>Rain?${section('functions.get_rain:0', '{"town":"Ulm"}')}`;
    expect(read(NUMBERED, inside)).toEqual({ reasoning: 'Rain?', content: '', calls: rain });
  });
});

describe('calls inside of thoughts, and without arguments', () => {
  const open = "'<think>' '</think>'";
  test.each<[string, string, string, string]>([
    [
      'MiniMax',
      `${open} '<minimax:tool_call>' '<invoke name='`,
      '<minimax:tool_call>\n<invoke name="grep_tool">\n</invoke>\n</minimax:tool_call>',
      '<think>\n',
    ],
    [
      'DeepSeek V3.1',
      `${open} '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>' '<｜tool▁sep｜>'`,
      '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>grep_tool<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
      '<think>',
    ],
    [
      'DeepSeek V3.2',
      `${open} '<｜DSML｜function_calls>'`,
      '<｜DSML｜function_calls>\n<｜DSML｜invoke name="grep_tool">\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
      '<think>',
    ],
    [
      'Qwen3',
      `${open} '<tool_call>' '"arguments": '`,
      '<tool_call>\n{"name": "grep_tool", "arguments": {}}\n</tool_call>',
      '<think>\n',
    ],
  ])('%s', (_, template, call, prompt) => {
    expect(read(template, `Look.${call}`, { prompt })).toEqual({
      ...{ reasoning: 'Look.', content: '' },
      calls: [{ name: 'grep_tool', arguments: {} }],
    });
    // Behind a prompt that closed the thought, or opens none, the same text is content.
    expect(read(template, `Look.${call}`, { prompt: '</think>' })).toMatchObject({
      ...{ reasoning: '', content: 'Look.' },
    });
  });
});
