// The section of CHANGELOG.md that is of one tag, on stdout: what a release says of itself. Fails where the changelog says
// nothing of the tag's version, or still calls it unreleased. Usage: node tools/release-notes.mjs v0.1.0
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

const version = process.argv[2]?.replace(/^v/, '');
if (!version) throw new Error('usage: node tools/release-notes.mjs TAG');
const changelog = readFileSync(resolve(import.meta.dirname, '..', 'CHANGELOG.md'), 'utf8');
const section = changelog.split(/^## /m).find((part) => part.split(/[\s(]/, 1)[0] === version);
if (section === undefined) throw new Error(`CHANGELOG.md says nothing of ${version}`);
const [title = '', ...body] = section.split('\n');
if (title.includes('unreleased'))
  throw new Error(`CHANGELOG.md calls ${version} unreleased: write its date`);
console.log(body.join('\n').trim());
