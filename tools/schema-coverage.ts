// How many of a folder's JSON schemas can be enforced: `node tools/typescript.mjs
// tools/schema-coverage.ts FOLDER [EVERY]`. FOLDER is any tree of .json files that are schemas, or have one as `schema`,
// such as `data` of github.com/guidance-ai/jsonschemabench; EVERY takes each n-th of them. Those that a validator
// doesn't take are no valid JSON Schema and aren't counted. Each grammar is compiled, and answers drawn from it are
// validated: an invalid one makes the exit status 1.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { measure, type Measured } from '../test/engine/schemas/measure.js';
import { Bytes } from '../test/engine/schemas/matcher.js';

const [folder = '.', every = '1'] = process.argv.slice(2);
const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.json'))
  .map((entry) => join(entry.parentPath, entry.name))
  .sort()
  .filter((_, i) => i % Number(every) === 0);

const bytes = await Bytes.open();
const counts = new Map<string, Map<Measured['result'], number>>();
const reasons = new Map<string, number>();
let wrong = 0;
for (const path of paths) {
  const group = path.slice(folder.length).split('/').filter(Boolean)[0] ?? '';
  const measured = await measure(JSON.parse(readFileSync(path, 'utf8')) as unknown, bytes, 2);
  const of = counts.get(group) ?? new Map<Measured['result'], number>();
  counts.set(group, of.set(measured.result, (of.get(measured.result) ?? 0) + 1));
  if (measured.result === 'refused') {
    const why = measured.why.replace(/^.*?: /, '');
    reasons.set(why, (reasons.get(why) ?? 0) + 1);
  }
  if (measured.result === 'wrong') {
    wrong++;
    console.log(`WRONG ${path}: ${measured.why}`);
  }
  if (measured.seconds > 5) console.log(`SLOW ${path}: ${measured.seconds.toFixed(1)} s`);
}
const line = (name: string, of: Map<Measured['result'], number>): void => {
  const count = (result: Measured['result']): number => of.get(result) ?? 0;
  const valid = count('enforced') + count('refused') + count('wrong');
  const share = valid === 0 ? 0 : (100 * count('enforced')) / valid;
  console.log(
    `${name.padEnd(18)} ${String(count('enforced')).padStart(6)} of ${String(valid).padStart(6)} ${share.toFixed(1).padStart(6)} %   invalid ${count('invalid')}`,
  );
};
const all = new Map<Measured['result'], number>();
for (const [name, of] of [...counts].sort()) {
  line(name, of);
  for (const [result, count] of of) all.set(result, (all.get(result) ?? 0) + count);
}
line('all', all);
for (const [why, count] of [...reasons].sort((a, b) => b[1] - a[1]).slice(0, 12)) {
  console.log(`${String(count).padStart(6)}  ${why}`);
}
process.exitCode = wrong > 0 ? 1 : 0;
