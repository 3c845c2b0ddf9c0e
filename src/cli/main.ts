#!/usr/bin/env node
// The command's entry. Its start path loads commander and small modules only: everything heavy
// (views, network, native code) is imported by the command that needs it.

import { readFileSync } from 'node:fs';

interface PackageFacts {
  version: string;
}

const manifest = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as PackageFacts;

const args = process.argv.slice(2);
const status = asksVersion(args) ? printVersion() : await runProgram(args);

// Output first: process.exit would cut what a slow reader of a pipe has not taken yet. The exit
// itself is explicit so that no keep-alive socket holds the shell's prompt back.
await Promise.all([process.stdout, process.stderr].map(drained));
process.exit(status);

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.writableLength === 0) resolve();
    else stream.write('', () => resolve());
  });
}

function asksVersion([first, ...rest]: string[]): boolean {
  return rest.length === 0 && (first === '--version' || first === '-V');
}

function printVersion(): number {
  process.stdout.write(`${manifest.version}\n`);
  return 0;
}

/** Imported here, so that the version is told without it. */
async function runProgram(words: string[]): Promise<number> {
  const program = await import('./program.js');
  return program.runProgram(words, manifest.version);
}
