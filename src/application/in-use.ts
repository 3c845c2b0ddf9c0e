// Whether a server answers with a model right now: then its files stay where they are.

import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { probeLock } from '../base/file-lock.js';
import { DEFAULT_PORT } from '../server/serve.js';
import { serviceLogs } from '../service-command.js';
import type { AppContext } from './context.js';
import { readSettings } from '../settings/file.js';

const PATIENCE_MS = 2_000;

/**
 * Throws ERR_LOCKED while the server at the usual port serves `id`, or while the service runs and doesn't say
 * what it serves. A foreground server at another port is not seen.
 */
export async function requireUnused(context: AppContext, id: string): Promise<void> {
  const { home, host } = context;
  const { port = DEFAULT_PORT } = await readSettings(home.settings);
  const lock = join(serviceLogs(home, host.homeDirectory, host.platform), 'server.lock');
  const service = await probeLock(lock);
  const served = await servedAt(port, host.env['FLASHMOE_API_KEY']);
  const isServed = served === null ? service !== null : served.includes(id);
  if (!isServed) return;
  const who = service === null ? `the server on port ${port}` : 'the service';
  throw new FlashmoeError('ERR_LOCKED', `${who} is using ${id}; nothing was changed`, {
    hint: service === null ? 'stop it first' : '`flashmoe service stop`, then this once more',
    subject: id,
  });
}

/** Ids of the models there; null when nobody answers, or not to us. */
async function servedAt(port: number, key: string | undefined): Promise<string[] | null> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/models`, {
      headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const { data } = (await answer.json()) as { data?: unknown };
    if (!Array.isArray(data)) return null;
    return data.map((entry: { id?: unknown } | null) => String(entry?.id));
  } catch {
    // Nobody listens, or it is no server of ours: both mean that it tells nothing.
    return null;
  }
}
