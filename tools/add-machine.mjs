// Adds what one machine measured of itself to docs/machines.md. Usage: node tools/add-machine.mjs REPORT.json
// REPORT.json is a file of `flashmoe doctor --self-test --report` or of `flashmoe bench --publish`. Refuses anything else,
// and a row that is there already.
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { importSources } from './typescript.mjs';

const MOST_BYTES = 1_000_000;
const root = resolve(import.meta.dirname, '..');
const [source, page = join(root, 'docs', 'machines.md')] = process.argv.slice(2);
if (source === undefined) {
  console.error('usage: node tools/add-machine.mjs REPORT.json [PAGE.md]');
  process.exit(2);
}
const { readReport } = await importSources('measure/machine-report');
const { addRows } = await importSources('measure/machine-page');
try {
  const text = readFileSync(source, 'utf8');
  if (text.length > MOST_BYTES) throw new Error(`larger than ${String(MOST_BYTES)} bytes`);
  const { text: changed, added } = addRows(readFileSync(page, 'utf8'), readReport(text));
  writeFileSync(page, changed);
  for (const row of added) console.log(row);
} catch (error) {
  console.error(`${source}: not added: ${error.message}`);
  process.exit(1);
}
