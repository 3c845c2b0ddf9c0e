// flashmoe launch: a client started with settings for this server, which it has for that run alone.

import { serverFacts } from '../../application/server-facts.js';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { launchClient } from '../../connect/launch.js';
import { clientOf } from '../../connect/registry.js';
import type { CliContext } from '../context.js';

export interface LaunchArgs {
  client: string;
  /** For the client. */
  words: readonly string[];
  model: string | null;
  port: number | null;
}

/** The client's own exit status. */
export async function launch(context: CliContext, args: LaunchArgs): Promise<number> {
  const client = clientOf(args.client);
  const { facts, isRunning } = await serverFacts(context, args);
  if (!isRunning) {
    throw new FlashmoeError('ERR_SERVER', `nothing answers at ${facts.root}`, {
      hint: 'flashmoe serve, or flashmoe service install',
    });
  }
  const { host, signal } = context;
  const status = await launchClient(client, facts, args.words, { host, signal });
  return status ?? EXIT.terminated;
}
