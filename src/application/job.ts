// The setup that is running, of this home: found by name or because there is only one, and followed like one's own.

import { FlashmoeError } from '../base/errors.js';
import { connectToJob, type JobConnection } from '../jobs/control/client.js';
import type { Receipt } from '../store/receipt.js';
import type { RunningSetup, StartTask } from './setup-runner.js';
import type { AppContext } from './context.js';
import { listInstallations } from './installations.js';
import type { Installation } from './read-installation.js';

export interface Job {
  id: string;
  connection: JobConnection;
}

/** Throws ERR_MODEL_MISSING when none is running, ERR_USAGE when it isn't clear which. */
export async function findJob(context: AppContext, name: string | null): Promise<Job> {
  const running = (await named(context, name)).filter(({ owner }) => owner !== null);
  const [only, another] = running;
  const what = name === null ? 'no setup is running here' : `no setup of ${name} is running`;
  if (only === undefined) {
    throw new FlashmoeError('ERR_MODEL_MISSING', what, {
      hint: '`flashmoe status` shows what is here; `flashmoe setup` begins or goes on',
    });
  }
  if (another !== undefined) throw several(running);
  const connection = await connectToJob(only.paths.lock);
  if (connection === null) throw new FlashmoeError('ERR_MODEL_MISSING', what);
  return { id: only.id, connection };
}

/** Unfinished ones that nobody works on. */
export async function findUnfinished(
  context: AppContext,
  name: string | null,
): Promise<Installation | null> {
  const idle = (await named(context, name)).filter(
    ({ owner, plan }) => owner === null && plan !== null,
  );
  if (idle.length > 1) throw several(idle);
  return idle[0] ?? null;
}

async function named(context: AppContext, name: string | null): Promise<Installation[]> {
  const wanted = name?.toLowerCase() ?? null;
  return (await listInstallations(context.home)).filter(
    ({ id, manifest, plan }) =>
      wanted === null || id === wanted || (manifest?.model ?? plan?.model) === wanted,
  );
}

function several(them: readonly Installation[]): FlashmoeError {
  const ids = them.map(({ id }) => id);
  return new FlashmoeError('ERR_USAGE', `several setups could be meant: ${ids.join(', ')}`, {
    hint: `name one of them: ${ids[0] ?? ''}`,
  });
}

/** Shows another process's run as if it were ours; an abort leaves it alone. */
export async function follow(connection: JobConnection, task: StartTask): Promise<Receipt> {
  const { signal, emit, attached } = task;
  const { owner } = connection;
  attached(owner.pid);
  const leave = (): void => connection.close();
  signal.addEventListener('abort', leave, { once: true });
  try {
    await connection.subscribe((event, t) => emit(event, t));
    const last = await connection.ended;
    signal.throwIfAborted();
    if (last === null) throw vanished(owner.pid);
    if (last.type === 'finished') return last.receipt;
    const { code, message, hint, resumable } = last;
    throw new FlashmoeError(code, `process ${owner.pid ?? ''}: ${message}`, { hint, resumable });
  } catch (thrown) {
    if (!signal.aborted) throw thrown;
    throw new FlashmoeError(
      'ERR_INTERRUPTED',
      `left; the setup goes on in process ${owner.pid ?? ''}`,
      {
        hint: '`flashmoe attach` comes back to it, `flashmoe stop` ends it',
      },
    );
  } finally {
    signal.removeEventListener('abort', leave);
    connection.close();
  }
}

/** A run of another process, as the views see any run. */
export function attachedRun(connection: Job['connection'], done: Promise<Receipt>): RunningSetup {
  // A run that ended meanwhile is told by `done`.
  const ask = (wish: 'pause' | 'resume'): void =>
    void connection.ask({ do: wish }).catch(() => undefined);
  return { done, pause: () => ask('pause'), resume: () => ask('resume') };
}

function vanished(pid: number | null): FlashmoeError {
  return new FlashmoeError(
    'ERR_OWNER_GONE',
    `process ${pid ?? ''} ended without a word; what it had finished is kept`,
    { hint: 'run `flashmoe setup` again, it goes on from there' },
  );
}
