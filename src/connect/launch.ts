// A client started by us: its settings are in its environment, in its arguments, or in a folder that is gone when it ends.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FlashmoeError } from '../base/errors.js';
import { inTemporaryFolder } from '../base/temporary-folder.js';
import type { Host } from '../base/host.js';
import { ANY_KEY, KEY_VARIABLE, type Client, type ServerFacts } from './client.js';

/**
 * Runs until the client ends; an abort ends it.
 *
 * @param words of the user, behind our own arguments
 * @returns its exit status, null when a signal ended it; ERR_USAGE for a client that can't be started so or isn't there
 */
export async function launchClient(
  client: Client,
  server: ServerFacts,
  words: readonly string[],
  { host, signal }: { host: Host; signal: AbortSignal },
): Promise<number | null> {
  const { launch } = client;
  if (launch === null) {
    throw new FlashmoeError('ERR_USAGE', `${client.name} reads its own files only`, {
      hint: `flashmoe connect ${client.id}`,
    });
  }
  return inTemporaryFolder(host, 'launch', async (folder) => {
    const key = host.env[KEY_VARIABLE] || ANY_KEY;
    const { program, install, args, env, files } = launch.call(client, server, key, folder);
    for (const { name, text } of files) {
      await writeFile(join(folder, name), text, { mode: 0o600 });
    }
    const child = spawn(program, [...args, ...words], {
      stdio: 'inherit',
      env: { ...host.env, ...env },
    });
    const onAbort = (): void => void child.kill('SIGTERM');
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const [status] = (await once(child, 'exit')) as [number | null];
      return status;
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT') throw thrown;
      const problem = `${client.name} is not installed: there is no ${program} in PATH`;
      throw new FlashmoeError('ERR_USAGE', problem, { hint: install });
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  });
}
