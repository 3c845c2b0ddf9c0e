// What constrained answers take at once: node bench/grammar-memory.mjs [TOKENS] [THREADS]
// Opens the threads that hold answers to a grammar, for a vocabulary of so many made-up words, and prints what memory this process has
// after each.
import { readFileSync } from 'node:fs';
import { importSources } from '../tools/typescript.mjs';

const [tokens = '151643', threads = '4'] = process.argv.slice(2);
const { GrammarHost } = await importSources('engine/grammar/host');
const letters = 'abcdefghijklmnopqrstuvwxyz';

/** Words of one to four letters, some with a space before them. */
function word(id) {
  let text = id % 2 === 0 ? '' : ' ';
  for (let rest = id; rest >= 0; rest = Math.floor(rest / 26) - 1) text += letters[rest % 26];
  return Buffer.from(text);
}

const vocabulary = { tokenLimit: Number(tokens), bytes: word };
const host = new GrammarHost(vocabulary, new Set([0]), new Set());
const resident = () => {
  const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'));
  return Math.round(Number(kilobytes) / 1024);
};
const tag = {
  type: 'structural_tag',
  format: { type: 'json_schema', json_schema: { type: 'object' } },
};
process.stdout.write(`${resident()} MB before\n`);
const runs = [];
for (let i = 1; i <= Number(threads); i++) {
  const run = await host.start(tag, new AbortController().signal);
  run.begin();
  await run.mask();
  runs.push(run);
  process.stdout.write(`${resident()} MB with ${i}\n`);
}
for (const run of runs) run.release();
await host.close();
