import { FlashmoeError } from '../base/errors.js';
import type { Client } from './client.js';
import { claudeCode } from './clients/claude-code.js';
import { cline } from './clients/cline.js';
import { codex } from './clients/codex.js';
import { continueDev } from './clients/continue.js';
import { openWebui } from './clients/open-webui.js';
import { openclaw } from './clients/openclaw.js';
import { opencode } from './clients/opencode.js';
import { pi } from './clients/pi.js';
import { qwenCode } from './clients/qwen-code.js';

export const CLIENTS: readonly Client[] = [
  openclaw,
  claudeCode,
  codex,
  opencode,
  continueDev,
  qwenCode,
  pi,
  cline,
  openWebui,
];

/** ERR_USAGE for a name that isn't one of them. */
export function clientOf(name: string): Client {
  const client = CLIENTS.find(({ id }) => id === name);
  if (client !== undefined) return client;
  throw new FlashmoeError('ERR_USAGE', `${name} is not a client that is known here`, {
    hint: `one of ${CLIENTS.map(({ id }) => id).join(', ')}`,
  });
}
