// What a grammar made of a schema lets through, put to the library text by text.

import { beforeAll, describe, expect, it, vi } from 'vitest';
import { schemaGrammar } from '../../src/engine/grammar/schema.js';
import { Bytes } from './schemas/matcher.js';

vi.setConfig({ testTimeout: 30_000 });

let bytes: Bytes;
beforeAll(async () => {
  bytes = await Bytes.open();
});

function read(schema: unknown): { grammar: string; problems: string[] } {
  const problems: string[] = [];
  const grammar = schemaGrammar(schema, 's', (path, why) => problems.push(`${path}: ${why}`));
  return { grammar, problems };
}

async function accepted(schema: unknown, texts: readonly string[]): Promise<string[]> {
  const { grammar, problems } = read(schema);
  expect(problems).toEqual([]);
  const compiled = await bytes.compile({
    type: 'structural_tag',
    format: { type: 'grammar', grammar },
  });
  const result: string[] = [];
  for (const text of texts) if (await compiled.accepts(text)) result.push(text);
  return result;
}

const one = (a: unknown): object => ({ type: 'object', properties: { a }, required: ['a'] });

describe('a grammar of a schema', () => {
  it.each<[string, unknown, string[], string[]]>([
    ['an annotation', one({ type: 'string', example: 'x' }), ['{"a": "y"}'], ['{"a": 1}']],
    ['an unknown keyword', { id: 'x', type: 'integer', flavour: 3 }, ['1'], ['"1"']],
    ['a list without items', { type: 'array', minItems: 1 }, ['[1]', '[[], "x"]'], ['[]']],
    ['an object without properties', { type: 'object', minProperties: 1 }, ['{"a": 1}'], ['{}']],
    [
      'a type beside values',
      one({ type: 'integer', enum: [1, 'x'] }),
      ['{"a": 1}'],
      ['{"a": "x"}'],
    ],
    [
      'a format without a type',
      one({ format: 'date' }),
      ['{"a": "2024-02-29"}'],
      ['{"a": "hello"}', '{"a": "2023-02-29"}'],
    ],
    ['a length without a type', one({ maxLength: 1 }), ['{"a": "é"}'], ['{"a": "hello"}']],
    [
      'a pattern without a type',
      one({ pattern: '^[0-9]+$' }),
      ['{"a": "12"}'],
      ['{"a": "hello"}', '{"a": ""}'],
    ],
    [
      'a count of properties without a type',
      one({ maxProperties: 1 }),
      ['{"a": {"x": 1}}'],
      ['{"a": {"x": 1, "y": 2}}'],
    ],
    [
      'a least count of properties without a type',
      one({ minProperties: 1 }),
      ['{"a": {"x": 1}}'],
      ['{"a": {}}'],
    ],
    ['a count of items without a type', one({ minItems: 1 }), ['{"a": [1]}'], ['{"a": []}']],
    [
      'a named property as a further one',
      { type: 'object', properties: { a: { type: 'integer' } }, additionalProperties: true },
      ['{"a": 1}', '{"b": "x"}', '{"a": 1, "ab": "x"}'],
      ['{"a": "x"}', '{"\\u0061": "x"}', '{"a": 1, "a": "x"}'],
    ],
    [
      'a name with a backslash',
      { type: 'object', properties: { 'a\\b': { type: 'integer' } }, required: ['a\\b'] },
      ['{"a\\\\b": 1}'],
      ['{"a": 1}'],
    ],
    [
      'a name with a line break',
      { type: 'object', properties: { 'a\nb': { type: 'integer' } }, required: ['a\nb'] },
      ['{"a\\nb": 1}', '{"\\u0061\\u000Ab": 1}'],
      ['{"ab": 1}'],
    ],
    [
      'null beside a bound',
      one({ type: ['integer', 'null'], minimum: 0 }),
      ['{"a": 0}', '{"a": null}'],
      ['{"a": -1}'],
    ],
    [
      'negated classes',
      { type: 'string', pattern: '^[^@]+@[^@]+$' },
      ['"a@b"', '"é@\\""'],
      ['"ab"', '"a@b@c"'],
    ],
    [
      'escapes in a pattern',
      { type: 'string', pattern: '^\\u0041\\/\\.$' },
      ['"A/."', '"A\\/."'],
      ['"A/x"'],
    ],
    ['an unanchored pattern', { type: 'string', pattern: 'b+' }, ['"abc"', '"b"'], ['"ac"']],
    [
      'anchors in alternatives',
      { type: 'string', pattern: '^a|b$' },
      ['"ax"', '"xb"'],
      ['"xa"', '"bx"'],
    ],
    [
      'what must not follow',
      { type: 'string', pattern: '^(?!.*xx)[a-z]+$' },
      ['"axbx"'],
      ['"axx"', '"A"'],
    ],
    [
      'a pattern and a length',
      { type: 'string', pattern: '^a', maxLength: 3, minLength: 2 },
      ['"ab"', '"abc"'],
      ['"a"', '"abcd"', '"bc"'],
    ],
    [
      'several allOf',
      { allOf: [one({ type: 'number' }), one({ maximum: 4 }), { required: ['b'] }] },
      ['{"a": 4, "b": []}'],
      ['{"a": 4}', '{"a": 5, "b": 1}'],
    ],
    [
      'oneOf of schemas that overlap',
      {
        type: 'object',
        properties: { a: { type: 'integer' }, b: { type: 'integer' } },
        oneOf: [{ required: ['a'] }, { required: ['b'] }],
      },
      ['{"a": 1}', '{"b": 1}'],
      ['{}', '{"a": 1, "b": 1}'],
    ],
    [
      'oneOf told apart by a constant',
      {
        oneOf: [
          {
            type: 'object',
            properties: { k: { const: 'x' }, v: { type: 'integer' } },
            required: ['k', 'v'],
          },
          {
            type: 'object',
            properties: { k: { const: 'y' }, v: { type: 'string' } },
            required: ['k', 'v'],
          },
        ],
      },
      ['{"k": "x", "v": 1}', '{"k": "y", "v": "1"}'],
      ['{"k": "x", "v": "1"}'],
    ],
    [
      'not',
      { type: 'string', not: { enum: ['x', 'y'] } },
      ['"z"', '"xx"', '""'],
      ['"x"', '"y"', '"\\u0078"'],
    ],
    [
      'if and then',
      {
        type: 'object',
        properties: { k: { enum: ['x', 'y'] }, v: {} },
        required: ['k'],
        if: { properties: { k: { const: 'x' } } },
        then: { required: ['v'] },
      },
      ['{"k": "x", "v": 1}', '{"k": "y"}'],
      ['{"k": "x"}'],
    ],
    [
      'patternProperties',
      {
        type: 'object',
        patternProperties: { '^x-': { type: 'integer' } },
        additionalProperties: false,
      },
      ['{"x-a": 1}', '{}'],
      ['{"x-a": "1"}', '{"y": 1}'],
    ],
    [
      'names of properties',
      {
        type: 'object',
        propertyNames: { pattern: '^[a-z]+$' },
        additionalProperties: { type: 'integer' },
      },
      ['{"ab": 1}'],
      ['{"AB": 1}', '{"": 1}'],
    ],
    [
      'dependent names',
      { type: 'object', properties: { a: {}, b: {} }, dependentRequired: { a: ['b'] } },
      ['{"b": 1}', '{"a": 1, "b": 2}'],
      ['{"a": 1}'],
    ],
    [
      'a reference to itself',
      { type: 'object', properties: { next: { $ref: '#' } }, additionalProperties: false },
      ['{"next": {"next": {}}}'],
      ['{"next": 1}'],
    ],
    [
      'definitions by pointer and anchor',
      {
        $defs: { 'a/b': { type: 'integer' }, c: { $anchor: 'x', type: 'null' } },
        anyOf: [{ $ref: '#/$defs/a~1b' }, { $ref: '#x' }],
      },
      ['1', 'null'],
      ['"1"'],
    ],
    [
      'bounds of draft 4',
      { type: 'integer', minimum: 0, exclusiveMinimum: true, maximum: 12 },
      ['1', '12'],
      ['0', '13', '-1'],
    ],
    [
      'a list of items of draft 7',
      { type: 'array', items: [{ type: 'integer' }], additionalItems: false },
      ['[]', '[1]'],
      ['["1"]', '[1, 2]'],
    ],
  ])('holds to %s', async (_, schema, right, wrong) => {
    expect(await accepted(schema, [...right, ...wrong])).toEqual(right);
  });

  it('takes a value in every spelling that is read as it', async () => {
    const texts = ['0.1', '0.10', '1e-1', '1.0E-01', '-0.1', '0.11', '1e1', '.1'];
    expect(await accepted({ enum: [0.1] }, texts)).toEqual(['0.1', '0.10', '1e-1', '1.0E-01']);
    const pi = '3.141592653589793';
    expect(await accepted({ const: Math.PI }, [pi, '3.14'])).toEqual([pi]);
    expect(await accepted({ const: 10 }, ['10', '10.0', '1e1', '1E+1', '100', '1'])).toEqual([
      ...['10', '10.0', '1e1', '1E+1'],
    ]);
    expect(await accepted({ const: 'aé' }, ['"aé"', '"\\u0061\\u00E9"', '"ae"'])).toEqual([
      ...['"aé"', '"\\u0061\\u00E9"'],
    ]);
    const value = { a: [1, null], b: { c: 'x' } };
    expect(await accepted({ const: value }, [JSON.stringify(value)])).toHaveLength(1);
  });

  const NUMBERS = [
    '-12.5',
    '-1',
    '-0.25',
    '0',
    '0.1',
    '0.25',
    '0.5',
    '1',
    '1.5',
    '2.75',
    '10',
    '99.9',
  ];
  it.each([
    [{ minimum: 0 }],
    [{ minimum: -1 }],
    [{ exclusiveMinimum: 0.1 }],
    [{ maximum: 1.5 }],
    [{ exclusiveMaximum: 10 }],
    [{ minimum: -0.25, exclusiveMaximum: 1 }],
    [{ maximum: -0.25 }],
    [{ exclusiveMaximum: 0 }],
    [{ multipleOf: 0.25 }],
    [{ multipleOf: 0.5, minimum: 1 }],
  ])('lets just the numbers through that fit %j', async (bounds) => {
    const { minimum: min = -Infinity, maximum: max = Infinity } = bounds as Record<string, number>;
    const { exclusiveMinimum: above = -Infinity, exclusiveMaximum: below = Infinity } =
      bounds as Record<string, number>;
    const { multipleOf: of = 1e-9 } = bounds as Record<string, number>;
    const fits = NUMBERS.filter((text) => {
      const value = Number(text);
      return (
        value >= min &&
        value <= max &&
        value > above &&
        value < below &&
        (of === 1e-9 || Number.isInteger(value / of))
      );
    });
    expect(await accepted({ type: 'number', ...bounds }, NUMBERS)).toEqual(fits);
  });

  it.each<[unknown, string]>([
    [{ type: 'array', contains: {} }, 's.contains: '],
    [{ $ref: '#/$defs/none' }, 's.$ref: names nothing'],
    [{ $ref: 'https://example.com/x.json' }, 's.$ref: names nothing'],
    [{ $defs: { a: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }, 'leads only to itself'],
    [{ type: 'string', pattern: '(a)\\1' }, 's.pattern: '],
    [{ type: 'string', pattern: '^.*a.{20}$' }, 's: is too complicated'],
    [
      { type: 'object', additionalProperties: { type: 'integer' }, minProperties: 2 },
      's.minProperties: ',
    ],
    [{ oneOf: [{ type: 'integer' }, { type: 'number', multipleOf: 3 }] }, 's.oneOf: '],
    [{ type: 'string', pattern: '((a{0,100}){0,100}){0,100}$' }, 's: is too complicated'],
    [{ allOf: [{ type: 'string' }, { type: 'number' }] }, 's: allows nothing'],
    [{ type: 'hiccup' }, 's.type: "hiccup" is no type'],
    [{ type: 'string', minLength: 65536 }, 's.minLength: '],
    [false, 'allows nothing'],
  ])('is told by name that it cannot hold to %j', (schema, problem) => {
    expect(read(schema).problems.join('\n')).toContain(problem);
  });

  it('refuses what is nested too deeply, however deep', () => {
    const deep = JSON.parse(`{"const":${'['.repeat(20_000)}${']'.repeat(20_000)}}`) as unknown;
    expect(read(deep).problems).toEqual(['s: is nested too deeply']);
  });
});
