import type { Client } from './client.js';
import { claudeCode } from './clients/claude-code.js';
import { codex } from './clients/codex.js';
import { continueDev } from './clients/continue.js';
import { openWebui } from './clients/open-webui.js';
import { openclaw } from './clients/openclaw.js';
import { opencode } from './clients/opencode.js';

export const CLIENTS: readonly Client[] = [
  openclaw,
  claudeCode,
  codex,
  opencode,
  continueDev,
  openWebui,
];
