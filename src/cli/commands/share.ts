// flashmoe share [MODEL]: the files of a finished model over HTTP, until told to stop.

import { randomBytes } from 'node:crypto';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytesBoth } from '../../base/format.js';
import { serveShared } from '../../hub/share-server.js';
import { SHARE_KEY } from '../../share/offer.js';
import { sharedRepo } from '../../share/shared-repo.js';
import { isLoopbackAddress } from '../../server/guard.js';
import { SHARE_PORT, type ShareOptions } from '../../settings/engine-options.js';
import type { CliContext } from '../context.js';
import { chooseInstalled } from '../../application/installed.js';

export interface ShareArgs extends ShareOptions {
  model: string | null;
}

const HOST = '127.0.0.1';
const KEY_BYTES = 18;
const LEAST_KEY = 16;

export async function share(context: CliContext, args: ShareArgs): Promise<number> {
  const { signal, interruption } = context;
  const { id, paths, manifest } = await chooseInstalled(context, args.model);
  const repo = await sharedRepo(id, paths, manifest);
  const host = args.host ?? HOST;
  const port = args.port ?? SHARE_PORT;
  const isOpen = !isLoopbackAddress(host);
  const key = keyOf(context, isOpen);
  const shared = await serveShared(repo, { host, port, key: key?.value ?? null });
  try {
    const { length } = manifest.files;
    const facts = { id, url: shared.origin, files: length, bytes: manifest.finalBytes };
    // A key that was made here is shown once; one of the environment is known.
    const made = key?.made ? { key: key.value } : {};
    if (context.json) context.emit('sharing', { ...facts, ...made });
    else tell(context, facts, key);
    if (isOpen) {
      context.note(
        `warning: other machines reach ${shared.origin}; model and key travel unencrypted`,
      );
    }
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  } finally {
    await shared.close();
  }
  const status = interruption.status() ?? EXIT.done;
  return status === EXIT.terminated ? EXIT.done : status;
}

interface Key {
  value: string;
  made: boolean;
}

/** null on loopback unless the environment has one. Throws ERR_USAGE for a short one. */
function keyOf({ host }: CliContext, isOpen: boolean): Key | null {
  const given = host.env[SHARE_KEY] ?? '';
  if (given === '') {
    return isOpen ? { value: randomBytes(KEY_BYTES).toString('base64url'), made: true } : null;
  }
  if (given.length >= LEAST_KEY) return { value: given, made: false };
  throw new FlashmoeError('ERR_USAGE', `${SHARE_KEY} has fewer than ${LEAST_KEY} characters`, {
    hint: `unset ${SHARE_KEY}, and a key is made`,
    subject: SHARE_KEY,
  });
}

function tell(
  context: CliContext,
  facts: { id: string; url: string; files: number; bytes: number },
  key: Key | null,
): void {
  const { id, url, files, bytes } = facts;
  context.print(`sharing ${id}, ${files} files, ${formatBytesBoth(bytes)}, read-only at ${url}`);
  const words = key?.made ? `${SHARE_KEY}=${key.value} ` : key === null ? '' : `${SHARE_KEY}=… `;
  const at = url.replace(/0\.0\.0\.0|\[::\]/, 'THIS_MACHINE');
  context.print(`  ${words}flashmoe setup --from ${at}`);
}
