// The grammar library in a thread of its own: a grammar it can't take ends in an abort of its WebAssembly
// instance, after which the whole thread is thrown away. One grammar is open at a time.

import { readFileSync, readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import { callForm } from '../calls/form.js';
import { stepBack } from '../step-back.mjs';
import { answerValidator } from './check.js';
import { answerTag } from './tags.js';

stepBack();
const require = createRequire(import.meta.url);

/** The package is UMD but says it is an ES module, so neither import nor require takes it as it is. */
function loadLibrary() {
  const path = require.resolve('@mlc-ai/web-xgrammar');
  const module = { exports: {} };
  const run = new Function(
    'exports',
    'require',
    'module',
    '__filename',
    '__dirname',
    readFileSync(path, 'utf8'),
  );
  run(module.exports, createRequire(path), module, path, path.replace(/[\\/][^\\/]*$/, ''));
  return module.exports;
}

const library = loadLibrary();
const { vocabulary: shared, stopIds, template } = workerData;
const form = template === null ? null : callForm(template);
const characters = new Uint16Array(shared.characters);
const ends = new Uint32Array(shared.ends);
const vocabulary = Array.from(ends, (end, id) =>
  String.fromCharCode(...characters.subarray(ends[id - 1] ?? 0, end)),
);
const tokens = await library.TokenizerInfo.createTokenizerInfo(
  vocabulary,
  'byte_level',
  false,
  vocabulary.length,
  stopIds,
);
const compiler = await library.GrammarCompiler.createGrammarCompiler(tokens);
let compiled = null;
let matcher = null;
let validator = null;

const NO_MASK = new Int32Array(0);

async function answer(message) {
  const started = performance.now();
  if (message.type === 'start') {
    const tag = message.tag ?? answerTag(message.held, form, message.afterThinking);
    compiled = await compiler.compileStructuralTag(JSON.stringify(tag));
    validator = message.held === undefined ? null : answerValidator(message.held);
  }
  if (message.type === 'check') {
    const fault = validator?.(message.said) ?? null;
    return { fault, mask: NO_MASK, seconds: (performance.now() - started) / 1000 };
  }
  if (message.type === 'start' || message.type === 'again') {
    matcher?.dispose();
    matcher = await library.GrammarMatcher.createGrammarMatcher(compiled);
  } else if (!matcher.acceptToken(message.id)) {
    throw new Error(`token ${message.id} is not in the grammar`);
  }
  // The library's array is a view of memory that the next call overwrites.
  const mask = Int32Array.from(await matcher.getNextTokenBitmask());
  return { mask, seconds: (performance.now() - started) / 1000 };
}

/** The system's number of this thread: what it computes is counted by that. */
function threadNumber() {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  } catch {
    return null;
  }
}

parentPort.postMessage({ ready: true, thread: threadNumber() });
parentPort.on('message', (message) => {
  answer(message).then(
    (reply) => {
      const given = reply.mask === NO_MASK ? [] : [reply.mask.buffer];
      parentPort.postMessage({ ...reply, serial: message.serial }, given);
    },
    (error) => {
      const { serial } = message;
      if (error.code !== 'ERR_GRAMMAR')
        return parentPort.postMessage({ error: String(error), serial });
      const { message: text, subject } = error;
      parentPort.postMessage({ refusal: { message: text, subject }, serial });
    },
  );
});
