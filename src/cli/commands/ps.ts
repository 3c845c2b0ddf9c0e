// flashmoe ps: what the server has in memory and does now.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatDuration } from '../../base/format.js';
import { terminalText } from '../../base/terminal-text.js';
import { DEFAULT_PORT } from '../../server/serve.js';
import { readSettings } from '../../settings/file.js';
import type { CliContext } from '../context.js';

const PATIENCE_MS = 2_000;

interface ServerStatus {
  version: string;
  now: number;
  started_at: number;
  state: string;
  reason: string | null;
  model: { id: string; backend?: string; contextLength?: number } | null;
  running: { phase: string; tokens: number; promptDone: number; promptTotal: number } | null;
  queue: { waiting: number };
  memory: { process: number };
}

export async function ps(context: CliContext, typedPort: number | null): Promise<number> {
  const settings = await readSettings(context.home.settings);
  const port = typedPort ?? settings.port ?? DEFAULT_PORT;
  const key = context.host.env['FLASHMOE_API_KEY'] || null;
  const status = await ask(port, key);
  if (status === null) {
    throw new FlashmoeError('ERR_SERVER', `no flashmoe server answers at 127.0.0.1:${port}`, {
      hint: 'flashmoe serve, or `flashmoe service status`',
    });
  }
  if (context.json) context.emit('ps', { port, ...status });
  else context.print(lines(port, status).map(terminalText).join('\n'));
  return EXIT.done;
}

async function ask(port: number, key: string | null): Promise<ServerStatus | null> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/status`, {
      headers: key === null ? {} : { authorization: `Bearer ${key}` },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const status = (await answer.json()) as Partial<ServerStatus>;
    return typeof status.state === 'string' ? (status as ServerStatus) : null;
  } catch {
    // Nobody listens there, or no server of ours: the caller says so.
    return null;
  }
}

function lines(port: number, status: ServerStatus): string[] {
  const { model, state, reason, running, queue, memory } = status;
  const up = formatDuration((status.now - status.started_at) / 1000);
  const loaded = model === null ? 'no model' : `${model.id} ${state}`;
  const on = model?.backend === undefined ? '' : ` on ${model.backend}`;
  return [
    `server at 127.0.0.1:${port}, up ${up}, ${formatBytes(memory.process)} of memory`,
    `  ${loaded}${on}${reason === null ? '' : `: ${reason}`}`,
    `  ${doing(running)}, ${queue.waiting} waiting`,
  ];
}

function doing(running: ServerStatus['running']): string {
  if (running === null) return 'idle';
  if (running.phase === 'decode') return `answering, ${running.tokens} tokens so far`;
  return `reading a prompt, ${running.promptDone} of ${running.promptTotal} tokens`;
}
