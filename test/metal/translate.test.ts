// The subset of the Metal Shading Language that the translator lets through: what it refuses, with the line.

import { execa } from 'execa';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';
import { headersIn, translate } from './translate.js';

const one = (text: string) => translate([{ name: 'case.metal', text }]);
const kernel = (parameters: string, body = '') => `kernel void f(${parameters})\n{${body}}\n`;
const lane = 'uint lane [[thread_index_in_simdgroup]]';
const out = 'device float* out [[buffer(0)]]';

describe('what the subset leaves out is an error that names the line', () => {
  test.each([
    ['a pointer without an address space', kernel('float* out [[buffer(0)]]'), 'without an address space'],
    ['a cast without an address space', kernel(out, '\nfloat4 v = *(float4*)out;'), ':3: pointer cast'],
    ['a parameter without an attribute', kernel(`${out}, uint lane`), 'needs an attribute'],
    ['an attribute it does not know', kernel('uint x [[vertex_id]]'), '[[vertex_id]] is outside the subset'],
    [
      'position attributes of two widths',
      kernel('uint a [[thread_position_in_grid]], uint3 b [[threadgroup_position_in_grid]]'),
      'must share one type, found uint, uint3',
    ],
    ['a reference to device memory', kernel('device float& x [[buffer(0)]]'), 'only constant parameters'],
    ['threadgroup memory as a buffer', kernel('threadgroup float* x [[buffer(0)]]'), 'cannot be threadgroup'],
    ['a scalar in threadgroup memory', kernel(lane, '\n\nthreadgroup float x;'), ':4: threadgroup memory'],
    ['two threadgroup variables at once', kernel(lane, 'threadgroup float a[1], b[2];'), 'one threadgroup'],
    ['a threadgroup matrix', kernel(lane, 'threadgroup float a[2][3];'), 'one dimension'],
    ['fast functions', kernel(lane, 'float x = fast::exp(1.0f);'), 'fast:: functions change results'],
    ['a keyword as a name', 'struct Args { uint kernel; };', 'kernel is a keyword'],
    ['textures', kernel(lane, 'texture2d<float> t;'), 'not in the subset'],
    ['goto', kernel(lane, 'goto end;'), 'not in the subset'],
    ['an attribute in a body', kernel(lane, 'float x [[buffer(0)]];'), 'attribute inside a body'],
    ['another preprocessor line', '#error no\n', 'outside the subset'],
    ['a brace that nobody closes', 'kernel void f(uint x [[thread_position_in_grid]]) {', 'unclosed'],
    ['matrix units of other types', kernel(lane, 'simdgroup_half8x8 m;'), 'it rounds what it multiplies'],
    ['a macro that builds a kernel', '#define K kernel void\n', 'must not build a kernel signature'],
    ['a template kernel that nobody instantiates', `template <int N>\n${kernel(out)}`, 'no [[host_name]]'],
    [
      'a private array in a loop that nobody unrolls',
      kernel(lane, '\nfloat x[4];\nfor (uint i = 0; i < 4; i++) x[i] = 0.0f;'),
      ":4: x is a thread's own, and the compiler does not know this index",
    ],
    [
      'a private array in a loop without a constant bound',
      kernel(`constant FmArgs& args [[buffer(1)]], ${lane}`, 'float x[4];\n#pragma unroll\nfor (uint i = 0; i < args.n; i++) x[i] = 0.0f;'),
      ':4: #pragma unroll needs a loop that counts up to a constant',
    ],
    ['a private array at a place that is computed', kernel(lane, 'float x[4] = {0, 1, 2, 3};\nuint at = lane % 4;\nx[at] = 0.0f;'), ':4: x is a'],
    ['a component of a vector at such a place', kernel(lane, 'float4 v = float4(0.0f); v[lane] = 1.0f;'), "v is a thread's own"],
    [
      'a part of a private array at such a place',
      `static inline void g(thread float* x) {}\n${kernel(lane, 'float x[4]; for (uint i = 0; i < 4; i++) g(x + i);')}`,
      "x is a thread's own",
    ],
    ['a pragma that belongs to no loop', kernel(lane, '\n#pragma unroll\nfloat x = 0.0f;'), ':3: #pragma unroll stands before a for'],
    ['another pragma in a body', kernel(lane, '\n#pragma once\n'), 'preprocessor line in a body'],
    [
      'an instance whose two names differ',
      `template <int N>\n${kernel(out)}template [[host_name("g")]] [[kernel]] decltype(f<1>) f<2>;\n`,
      'an instance is',
    ],
  ])('%s', (_, text, message) => {
    expect(() => one(text)).toThrow(message);
  });
});

test('an index is known that is made of constants, parameters of a template and variables of unrolled loops', () => {
  const body = `
    constexpr uint low = 8 / N;
    float x[N][4];
    #pragma unroll
    for (uint i = 0; i < uint(N); i++) {
      uint place = i % low;
      #pragma unroll
      for (uint j = 0; j < 4; j++) x[place][j] = out[lane * 4 + j];
    }
    for (uint i = lane; i < 64; i += FM_SIMD) out[i] = x[0][3];`;
  const text = `template <int N>\n${kernel(`${out}, ${lane}`, body)}template [[host_name("f4")]] [[kernel]] decltype(f<4>) f<4>;\n`;
  expect(one(text).code.match(/FM_UNROLL/g)).toHaveLength(2);
});

test('a kernel says what the host must bind', () => {
  const text = kernel(`device const float* x [[buffer(2)]], ${out}, constant FmArgs& args [[buffer(1)]], ${lane}`);
  expect(one(text).signatures).toEqual([
    {
      name: 'f',
      bindings: [
        { index: 2, kind: 'device', structure: null, array: false, writable: false, name: 'x' },
        { index: 0, kind: 'device', structure: null, array: false, writable: true, name: 'out' },
        { index: 1, kind: 'constant', structure: 'FmArgs', array: false, writable: false, name: 'args' },
      ],
    },
  ]);
});

test('lines stay where they are, so that reports name those of the .metal file', () => {
  const helper = 'template <int N>\nstatic inline float\nhelper(float x)\n{ return x; }\n';
  const text = `// one\nusing namespace metal;\n${helper}${kernel(out, '\n\nout[0] = 1.0f;')}`;
  expect(one(text).code.split('\n').indexOf('out[0] = 1.0f;}')).toBe(text.split('\n').indexOf('out[0] = 1.0f;}') + 1);
});

test('pointers keep their address space, as clang sees it', async () => {
  const { exitCode, all } = await execa('make', ['-s', '-C', join(packageRoot, 'test', 'metal'), 'spaces'], {
    reject: false,
    all: true,
  });
  if (/clang\S*: (command not found|No such file)/.test(all)) {
    console.log('SKIP address spaces: there is no clang here');
    return;
  }
  expect({ exitCode, all }).toEqual({ exitCode: 0, all: '' });
}, 120_000);

test('every kernel file of the engine is in the subset', () => {
  const folder = join(packageRoot, 'metal');
  const read = (name: string) => ({ name, text: readFileSync(join(folder, name), 'utf8') });
  const files = readdirSync(folder).filter((name) => name.endsWith('.metal'));
  expect(files.length).toBeGreaterThan(0);
  for (const file of files) {
    const names = translate([...headersIn(folder).map(read), read(file)]).signatures.map(({ name }) => name);
    expect(names.length, file).toBeGreaterThan(0);
    expect(new Set(names).size, file).toBe(names.length);
  }
});
