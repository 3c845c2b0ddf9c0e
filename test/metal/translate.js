// Translates a .metal file into C++ that a CPU or CUDA shim can run, without touching kernel bodies beyond
// declarations. It is also the gate of our MSL subset: what it does not know is an error with a line.
//
// Usage: node translate.js METAL_DIR OUT_DIR: one C++ file for each .metal file, and signatures.json.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { checkPrivateIndices } from './private-indices.js';
import { closing, isBlank, nextSolid, SPACES, SubsetError, tokenise } from './tokens.js';

/** Attributes of kernel parameters, and whether their type may be a vector of any one width. */
const POSITIONS = new Map([
  ['thread_position_in_grid', 'vector'],
  ['threadgroup_position_in_grid', 'vector'],
  ['thread_position_in_threadgroup', 'vector'],
  ['threads_per_threadgroup', 'vector'],
  ['threadgroups_per_grid', 'vector'],
  ['thread_index_in_threadgroup', 'scalar'],
  ['thread_index_in_simdgroup', 'scalar'],
  ['simdgroup_index_in_threadgroup', 'scalar'],
  ['simdgroups_per_threadgroup', 'scalar'],
]);
const FORBIDDEN = new Map([
  ['dispatchThreads', 'ragged dispatch'],
  ['simdgroup_matrix', 'of its types there is simdgroup_float8x8: the others round what they multiply'],
  ['simdgroup_half8x8', 'it rounds what it multiplies'],
  ['simdgroup_bfloat8x8', 'it rounds what it multiplies'],
  ['texture2d', 'not in the subset'],
  ['sampler', 'not in the subset'],
  ['fast', 'fast:: functions change results'],
  ['goto', 'not in the subset'],
]);

/** Text without address spaces; newlines stay, so that reports name the line of the .metal file. */
function stripSpaces(tokens) {
  let out = '';
  for (let i = 0; i < tokens.length; i++) {
    const { text, kind } = tokens[i];
    if (kind === 'word' && SPACES.has(text)) {
      const rest = tokens.slice(i + 1).find((t) => !isBlank(t));
      out += text === 'constant' && rest?.text !== 'constexpr' ? 'const' : '';
    } else out += text;
  }
  return out;
}

export class Translator {
  /** @param {string} file name for messages */
  constructor(file, text) {
    this.file = file;
    this.tokens = tokenise(text);
    /** Kernels by function name: their parameters, and the line they start at. */
    this.kernels = new Map();
    /** What the host can ask for: [host name, C++ callee]. */
    this.entries = [];
    this.out = '';
  }

  fail(token, message) {
    throw new SubsetError(this.file, token.line, message);
  }

  run() {
    this.checkWords();
    this.checkCasts();
    checkPrivateIndices(this.file, this.tokens);
    for (let i = 0; i < this.tokens.length; ) i = this.topLevel(i);
    for (const [name, kernel] of this.kernels) {
      if (!kernel.template) this.entries.push([name, name]);
      else if (!this.entries.some(([, callee]) => callee.startsWith(`${name}<`))) {
        throw new SubsetError(this.file, kernel.line, `template kernel ${name} has no [[host_name]] instance`);
      }
    }
    return this.out + this.entryPoints();
  }

  checkWords() {
    for (const token of this.tokens) {
      const reason = token.kind === 'word' ? FORBIDDEN.get(token.text) : undefined;
      if (reason !== undefined) this.fail(token, `${token.text}: ${reason}`);
    }
    this.checkKeywords();
  }

  /** `kernel` is a keyword, which a C++ compiler takes for any name. */
  checkKeywords() {
    const solid = this.tokens.filter((t) => !isBlank(t));
    solid.forEach((token, i) => {
      if (token.kind !== 'word' || token.text !== 'kernel') return;
      if (solid[i + 1]?.text === 'void' || solid[i - 1]?.text === '[[') return;
      this.fail(token, 'kernel is a keyword of Metal and no name');
    });
  }

  /** A C-style pointer cast must name its address space: Metal refuses it otherwise, a C++ compiler does not. */
  checkCasts() {
    for (let i = 0; i < this.tokens.length; i++) {
      if (this.tokens[i].text !== '(') continue;
      const end = closing(this.tokens, i, '()');
      const inside = this.tokens.slice(i + 1, end).filter((t) => !isBlank(t));
      const last = inside.at(-1);
      const words = inside.slice(0, -1);
      if (last?.text !== '*' || words.length === 0) continue;
      if (!words.every((t) => t.kind === 'word')) continue;
      if (!words.some((t) => SPACES.has(t.text))) this.fail(this.tokens[i], 'pointer cast without an address space');
    }
  }

  /** Handles one top-level item that starts at token `i`; returns the index after it. */
  topLevel(i) {
    const token = this.tokens[i];
    if (isBlank(token)) return this.copy(i, i + 1);
    if (token.kind === 'directive') return this.directive(i);
    let end = i;
    let openBrace = -1;
    for (; end < this.tokens.length; end++) {
      if (this.tokens[end].text === ';') break;
      if (this.tokens[end].text === '{') {
        openBrace = end;
        break;
      }
    }
    const head = this.tokens.slice(i, end);
    const words = head.filter((t) => !isBlank(t)).map((t) => t.text);
    if (words[0] === 'using') return this.blank(i, end + 1);
    if (openBrace < 0) {
      if (words[0] === 'template') return this.instance(i, end);
      return this.declaration(i, end + 1);
    }
    const close = closing(this.tokens, openBrace, '{}');
    if (close < 0) this.fail(token, 'unclosed brace');
    if (words.includes('struct') || words.includes('enum') || words.includes('=')) {
      const stop = nextSolid(this.tokens, close + 1);
      return this.declaration(i, stop + 1);
    }
    return words.includes('kernel') ? this.kernel(i, openBrace, close) : this.plainFunction(i, openBrace, close);
  }

  copy(from, to) {
    for (let i = from; i < to; i++) this.out += this.tokens[i].text;
    return to;
  }

  blank(from, to) {
    for (let i = from; i < to; i++) this.out += this.tokens[i].text.replace(/[^\n]/g, '');
    return to;
  }

  directive(i) {
    const { text } = this.tokens[i];
    if (/^#\s*(include|pragma)/.test(text)) return this.blank(i, i + 1);
    if (/^#\s*(define|undef|if|ifdef|ifndef|else|elif|endif|line)/.test(text)) {
      if (/\bkernel\b/.test(text)) this.fail(this.tokens[i], 'a macro must not build a kernel signature');
      return this.copy(i, i + 1);
    }
    return this.fail(this.tokens[i], `preprocessor line outside the subset: ${text}`);
  }

  declaration(from, to) {
    this.out += stripSpaces(this.tokens.slice(from, to));
    return to;
  }

  plainFunction(from, openBrace, close) {
    const head = this.tokens.slice(from, openBrace);
    let text = stripSpaces(head).replace(/\b(static|inline)\b/g, '');
    const template = /^\s*template\s*<[^>]*>/.exec(text)?.[0] ?? '';
    text = text.slice(template.length);
    // Line ends stay, so that every report names the line of the source.
    this.out += `${template}${/^\s*/.exec(text)[0]}FM_FUNCTION ${text.trimStart()}`;
    this.body(openBrace, close);
    return close + 1;
  }

  /** `template [[host_name("x")]] [[kernel]] decltype(f<4>) f<4>;` */
  instance(from, end) {
    const tokens = this.tokens.slice(from, end).filter((t) => !isBlank(t));
    const text = tokens.map((t) => t.text).join(' ');
    const match =
      /^template \[\[ host_name \( ("[^"]+") \) \]\] \[\[ kernel \]\] decltype \( (.+) \) (.+)$/.exec(text);
    if (match === null || match[2] !== match[3]) {
      this.fail(this.tokens[from], 'an instance is: template [[host_name("x")]] [[kernel]] decltype(f<N>) f<N>;');
    }
    this.entries.push([JSON.parse(match[1]), match[2].replaceAll(' ', '')]);
    return this.blank(from, end + 1);
  }

  kernel(from, openBrace, close) {
    const tokens = this.tokens;
    let open = openBrace;
    while (tokens[open].text !== ')') open--;
    let depth = 0;
    for (; open > from; open--) {
      if (tokens[open].text === ')') depth++;
      if (tokens[open].text === '(' && --depth === 0) break;
    }
    let nameAt = open - 1;
    while (isBlank(tokens[nameAt])) nameAt--;
    const name = tokens[nameAt].text;
    const head = tokens.slice(from, nameAt).filter((t) => !isBlank(t)).map((t) => t.text);
    const template = head[0] === 'template';
    const parameters = this.parameters(open + 1, closing(tokens, open, '()'));
    this.kernels.set(name, { line: tokens[nameAt].line, template, parameters });
    const templateText = template ? /^template\s*<[^>]*>/.exec(head.join(' '))[0] : '';
    const lines = tokens.slice(from, nameAt).map((t) => t.text.replace(/[^\n]/g, '')).join('');
    this.out += `${lines}${templateText} FM_FUNCTION void ${name}(`;
    this.out += parameters.map((p) => p.text).join(',');
    this.out += ')';
    this.out += tokens.slice(closing(tokens, open, '()') + 1, openBrace).map((t) => t.text).join('');
    this.body(openBrace, close);
    return close + 1;
  }

  parameters(from, to) {
    const groups = [];
    let depth = 0;
    let start = from;
    for (let i = from; i <= to; i++) {
      const { text } = this.tokens[i];
      if ('([<'.includes(text) || text === '[[') depth++;
      if ((')]>'.includes(text) || text === ']]') && i < to) depth--;
      if ((text === ',' && depth === 0) || i === to) {
        groups.push(this.tokens.slice(start, i));
        start = i + 1;
      }
    }
    const parsed = groups.map((tokens) => this.parameter(tokens));
    const widths = new Set(parsed.filter((p) => POSITIONS.get(p.attribute) === 'vector').map((p) => p.type));
    if (widths.size > 1) {
      this.fail(this.tokens[from], `position attributes of one kernel must share one type, found ${[...widths].join(', ')}`);
    }
    return parsed;
  }

  parameter(tokens) {
    const at = tokens.findIndex((t) => t.text === '[[');
    const first = tokens.find((t) => !isBlank(t));
    if (at < 0) this.fail(first, 'a kernel parameter needs an attribute');
    const solid = tokens.slice(at).filter((t) => !isBlank(t)).map((t) => t.text);
    const attribute = solid[1];
    const declaration = tokens.slice(0, at);
    const words = declaration.filter((t) => !isBlank(t)).map((t) => t.text);
    const text = stripSpaces(declaration);
    if (attribute === 'buffer' || attribute === 'threadgroup') {
      const index = Number(solid[3]);
      const space = words.find((word) => SPACES.has(word));
      if (space === undefined) this.fail(first, 'a bound parameter without an address space');
      if (attribute === 'threadgroup' && space !== 'threadgroup') this.fail(first, '[[threadgroup]] needs threadgroup memory');
      if (attribute === 'buffer' && space === 'threadgroup') this.fail(first, '[[buffer]] cannot be threadgroup memory');
      const isReference = words.includes('&');
      if (isReference && space !== 'constant') this.fail(first, 'only constant parameters may be references');
      const kind = attribute === 'threadgroup' ? 'threadgroup' : space === 'constant' ? 'constant' : 'device';
      const structure = kind === 'constant' ? words[words.indexOf('constant') + 1] : null;
      const array = kind === 'constant' && !isReference;
      const writable = !words.includes('const') && space === 'device';
      return { text, attribute, index, kind, structure, array, writable, name: words.at(-1), type: words[0] };
    }
    if (!POSITIONS.has(attribute)) this.fail(first, `attribute [[${attribute}]] is outside the subset`);
    return { text, attribute, index: -1, kind: 'position', structure: null, array: false, writable: false, name: words.at(-1), type: words[0] };
  }

  /** A body, with `threadgroup T name[N];` turned into the shim's declaration. */
  body(open, close) {
    for (let i = open; i <= close; i++) {
      const token = this.tokens[i];
      if (token.kind === 'word' && token.text === 'threadgroup') {
        const end = this.threadgroupArray(i);
        if (end > 0) {
          i = end;
          continue;
        }
      }
      if (token.kind === 'word' && SPACES.has(token.text)) {
        const rest = this.tokens[nextSolid(this.tokens, i + 1)];
        this.out += token.text === 'constant' && rest.text !== 'constexpr' ? 'const' : '';
        continue;
      }
      if (token.text === '[[') this.fail(token, 'attribute inside a body');
      this.out += token.kind === 'directive' ? this.bodyDirective(token) : token.text;
    }
  }

  /** What unrolls a loop is the shim's: compilers have their own words for it. */
  bodyDirective(token) {
    if (/^#\s*pragma\s+unroll\s*$/.test(token.text)) return 'FM_UNROLL';
    return this.fail(token, `preprocessor line in a body: ${token.text}`);
  }

  threadgroupArray(i) {
    let end = i;
    while (this.tokens[end].text !== ';' && this.tokens[end].text !== '{' && this.tokens[end].text !== '=') end++;
    const solid = this.tokens.slice(i + 1, end).filter((t) => !isBlank(t));
    const open = solid.findIndex((t) => t.text === '[');
    if (solid.some((t) => t.text === '*' || t.text === '&') && (open < 0 || solid.findIndex((t) => t.text === '*') < open)) return -1;
    if (open < 0) this.fail(this.tokens[i], 'threadgroup memory is declared as an array: threadgroup T name[N];');
    if (solid.some((t) => t.text === ',') || solid.at(-1).text !== ']') this.fail(this.tokens[i], 'one threadgroup variable per declaration');
    const type = solid.slice(0, open - 1).map((t) => t.text).join(' ');
    const name = solid[open - 1].text;
    const size = solid.slice(open + 1, -1).map((t) => t.text).join(' ');
    if (size.includes(']')) this.fail(this.tokens[i], 'threadgroup arrays have one dimension');
    this.out += `FM_THREADGROUP(${type}, ${name}, (${size}));`;
    return end;
  }

  /** Filling each parameter from its attribute, and the table the host looks kernels up in. */
  entryPoints() {
    let text = '\n';
    for (const [host, callee] of this.entries) {
      const kernel = this.kernels.get(callee.replace(/<.*$/, ''));
      if (kernel === undefined) throw new SubsetError(this.file, 1, `instance of an unknown kernel: ${callee}`);
      const arrays = kernel.parameters.filter((p) => p.array);
      const argument = (p) => {
        if (p.kind === 'position') return `t.${p.attribute}()`;
        return p.array ? `b.constants(${p.index}, ${arrays.indexOf(p)})` : `b.${p.kind}(${p.index})`;
      };
      const call = kernel.parameters.map(argument);
      const bound = kernel.parameters
        .filter((p) => p.attribute === 'buffer')
        .map((p) => `{${p.index}, ${p.structure === null ? 0 : `sizeof(${p.structure})`}, ${p.array}, ${p.writable}}`);
      text += `FM_ENTRY(${host}, ${arrays.length}, FM_LIST(${bound.join(', ')}), ${callee}(${call.join(', ')}))\n`;
    }
    return text;
  }

  /** What the host must bind: for the test that holds host code against kernels. */
  signatures() {
    return this.entries.map(([host, callee]) => ({
      name: host,
      bindings: this.kernels
        .get(callee.replace(/<.*$/, ''))
        .parameters.filter((p) => p.kind !== 'position')
        .map(({ kind, index, structure, array, writable, name }) => ({ kind, index, structure, array, writable, name })),
    }));
  }
}

/** @returns {{code: string, signatures: object[]}} C++ of all files, wrapped so that nothing leaks between them */
export function translate(files) {
  let code = '';
  const signatures = [];
  for (const { name, text } of files) {
    const translator = new Translator(name, text);
    code += `#line 1 "${name}"\n${translator.run()}\n`;
    signatures.push(...translator.signatures());
  }
  return { code, signatures };
}

/** Headers of a folder of kernels behind args.h, in the order in which they need each other. */
export function headersIn(folder) {
  const others = readdirSync(folder).filter((name) => name.endsWith('.h') && name !== 'args.h' && name !== 'common.h');
  return ['common.h', ...others.sort()];
}

/** C++ of one .metal file for the shim that FM_SHIM names; statics of the headers stay its own. */
function unit(name, code) {
  return `#include FM_SHIM\n#include "args.h"\nFM_OPEN\nnamespace fm_${name} {\n${code}}\nFM_CLOSE\n`;
}

/** Writes only what changed, so that make rebuilds only that. */
function write(path, text) {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return;
  writeFileSync(path, text);
}

function main(source, target) {
  const read = (name) => ({ name, text: readFileSync(join(source, name), 'utf8') });
  const signatures = [];
  mkdirSync(target, { recursive: true });
  // Included by host and kernels alike: it must be Metal, too.
  new Translator('args.h', read('args.h').text).checkWords();
  for (const file of readdirSync(source).filter((name) => name.endsWith('.metal'))) {
    const made = translate([...headersIn(source).map(read), read(file)]);
    signatures.push(...made.signatures);
    const name = basename(file, '.metal');
    write(join(target, `${name}.cpp`), unit(name, made.code));
  }
  write(join(target, 'signatures.json'), `${JSON.stringify(signatures, null, 1)}\n`);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    main(process.argv[2], process.argv[3]);
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}
