// Writes the pages of docs/ that are made from schemas in src/. `--check` writes nothing and exits 1 when one is not current.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { importSources } from './typescript.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { environmentPage, eventsPage, settingsPage, statesPage, troubleshootingPage } =
  await importSources(
    'application/environment-page',
    'application/troubleshooting-page',
    'jobs/events-page',
    'settings/page',
    'store/states-page',
  );

const pages = {
  'docs/environment.md': environmentPage(),
  'docs/events.md': eventsPage(),
  'docs/settings.md': settingsPage(),
  'docs/states.md': statesPage(),
  'docs/troubleshooting.md': troubleshootingPage(),
};

for (const [path, text] of Object.entries(pages)) {
  const file = join(root, path);
  const wanted = await format(text, { ...(await resolveConfig(file)), filepath: file });
  if (!process.argv.includes('--check')) writeFileSync(file, wanted);
  else if (readFileSync(file, 'utf8') !== wanted) {
    console.error(`${path} is not current: node tools/pages.mjs`);
    process.exitCode = 1;
  }
}
