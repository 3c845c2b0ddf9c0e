// A service that writes what it was given to its log and stays, with text that each format must escape.

import { join } from 'node:path';
import type { ServiceSpec } from '../../src/service.js';

export const AWKWARD = [
  'two words',
  '100% of %h',
  '$HOME ${HOME} $$',
  'a "quote" and \'another\'',
  'back\\slash \\n',
  '<a & b>',
  'semi;colon',
  'ünï 漢字',
];

const PROGRAM = `
  console.log(JSON.stringify({
    argv: process.argv.slice(1), cwd: process.cwd(), marker: process.env.MARKER,
    names: Object.keys(process.env),
  }));
  setInterval(() => {}, 1000);
`.replace(/\s+/g, ' ');

export function awkwardService(root: string, change: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    label: 'dev.flashmoe.test',
    description: 'a service & 100 % <awkward> "text"',
    command: [process.execPath, '-e', PROGRAM, '--', ...AWKWARD],
    workingDirectory: join(root, 'work 50%'),
    environment: { MARKER: AWKWARD.join(' | '), PATH: '/usr/bin:/bin' },
    stdoutPath: join(root, 'logs 1%', 'out.log'),
    stderrPath: join(root, 'logs 1%', 'err.log'),
    restart: 'on-failure',
    start: 'login',
    throttleSeconds: 30,
    stopSeconds: 30,
    ...change,
  };
}
