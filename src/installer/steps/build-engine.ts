// Builds the addon on this machine, from the sources in the package, in the home's engine folder: the
// package itself may be read-only. listr2 runs the four tasks; views see them as `build` events.

import { existsSync } from 'node:fs';
import { cp, mkdir, open, realpath, rename, rm } from 'node:fs/promises';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { Listr, ListrTaskEventType, ListrTaskState, type ListrTask } from 'listr2';
import { homeAddonPath } from '../../addon/load.js';
import { probeAddon } from '../../addon/probe.js';
import type { SelfTest } from '../../addon/types.js';
import { writeFileAtomic } from '../../base/atomic-file.js';
import { asFlashmoeError, FlashmoeError } from '../../base/errors.js';
import type { Host } from '../../base/host.js';
import type { Emit, Status } from '../../jobs/events.js';
import { buildRecordPath, sourceDigest } from './engine-sources.js';
import type { Exec } from '../../base/exec.js';
import { checkToolchain } from '../../machine/toolchain.js';

export interface BuildTask {
  emit: Emit;
  signal: AbortSignal;
  /** The home's engine folder. */
  engineDir: string;
  /** Folder of binding.gyp and native/. */
  sources: string;
  host: Pick<Host, 'platform' | 'env' | 'temporaryDirectory' | 'execPath' | 'cores'>;
  exec: Exec;
}

type BuildName = 'toolchain' | 'configure' | 'compile' | 'self-test';

const STATUS: Partial<Record<ListrTaskState, Status>> = {
  [ListrTaskState.STARTED]: 'started',
  [ListrTaskState.COMPLETED]: 'done',
  [ListrTaskState.FAILED]: 'failed',
};

/** Returns where the proven binary lies. Throws ERR_TOOLCHAIN or ERR_ENGINE naming what is missing and the log. */
export async function buildEngine(task: BuildTask): Promise<{ path: string; selfTest: SelfTest }> {
  await mkdir(task.engineDir, { recursive: true });
  const source = join(await realpath(task.engineDir), 'source');
  const log = join(task.engineDir, 'build.log');
  await rm(log, { force: true });
  const built = join(source, 'build', 'Release', 'flashmoe.node');
  let selfTest: SelfTest | null = null;

  const work: [BuildName, ListrTask['task']][] = [
    ['toolchain', () => requireToolchain(task)],
    [
      'configure',
      async () => {
        await copySources(task.sources, source);
        await nodeGyp(task, source, log, ['configure'], () => undefined);
      },
    ],
    [
      'compile',
      async (_, listrTask) => {
        let files = 0;
        await nodeGyp(task, source, log, ['build', '--jobs', String(task.host.cores)], (line) => {
          if (!/^\s*(CXX|CC)\(target\)/.test(line)) return;
          files += 1;
          listrTask.output = `${files} files`;
        });
      },
    ],
    [
      'self-test',
      async () => {
        const probe = await probeAddon(built, task.host.execPath, task.signal);
        if (!probe.ok) throw failed(`the engine that was just built ${probe.reason}`, log);
        selfTest = probe.selfTest;
      },
    ],
  ];
  const tasks = new Listr(
    work.map(([title, run]) => ({ title, task: run })),
    // Signals belong to the command line: listr2 would call process.exit.
    { renderer: 'silent', registerSignalListeners: false, exitOnError: true },
  );
  tasks.tasks.forEach((listrTask, index) => {
    const name = work[index]?.[0] ?? 'toolchain';
    const tell = (status: Status, detail?: string): void => {
      task.emit({ type: 'build', task: name, status, ...(detail === undefined ? {} : { detail }) });
    };
    listrTask.on(ListrTaskEventType.STATE, (state) => {
      const status = STATUS[state];
      if (status !== undefined) tell(status);
    });
    listrTask.on(ListrTaskEventType.OUTPUT, (output) => {
      tell('started', output);
    });
  });
  try {
    await tasks.run();
  } catch (error) {
    throw asFlashmoeError(error);
  }
  if (selfTest === null) throw failed('the self-test did not run', log);
  const path = homeAddonPath(task.engineDir);
  await rename(built, path);
  await writeFileAtomic(
    buildRecordPath(task.engineDir),
    `${JSON.stringify({ sources: await sourceDigest(task.sources) })}\n`,
  );
  await rm(source, { recursive: true, force: true });
  return { path, selfTest };
}

async function requireToolchain({ host, exec, signal }: BuildTask): Promise<void> {
  const findings = await checkToolchain(host, exec, signal);
  const missing = findings.filter(
    ({ id, severity }) => id.startsWith('toolchain.') && severity !== 'ok',
  );
  if (missing.length === 0) return;
  const list = missing.map(({ title }) => title).join('; ');
  throw new FlashmoeError('ERR_TOOLCHAIN', `the engine has to be built here, but ${list}`, {
    hint: missing[0]?.hint,
    resumable: true,
  });
}

/** Only what compiling reads; tests and earlier builds stay where they are. */
async function copySources(root: string, source: string): Promise<void> {
  await rm(source, { recursive: true, force: true });
  await mkdir(source, { recursive: true });
  const left = [join(root, 'native', 'test'), join(root, 'native', 'build')];
  for (const name of ['binding.gyp', 'native', 'metal']) {
    const from = join(root, name);
    if (!existsSync(from)) continue;
    await cp(from, join(source, name), { recursive: true, filter: (path) => !left.includes(path) });
  }
}

async function nodeGyp(
  { host, signal, engineDir }: BuildTask,
  cwd: string,
  logPath: string,
  args: string[],
  onLine: (line: string) => void,
): Promise<void> {
  const nodeGyp = fileURLToPath(import.meta.resolve('node-gyp/bin/node-gyp.js'));
  const packages = dirname(dirname(fileURLToPath(import.meta.resolve('node-addon-api'))));
  const prefix = resolve(dirname(host.execPath), '..');
  // Without installed headers node-gyp fetches them; then they shall lie in our home, too.
  const node = existsSync(join(prefix, 'include', 'node', 'node_api.h'))
    ? `--nodedir=${prefix}`
    : `--devdir=${join(engineDir, 'headers')}`;
  const log = await open(logPath, 'a');
  try {
    const child = execa(host.execPath, [nodeGyp, ...args, node], {
      cwd,
      all: true,
      reject: false,
      stdin: 'ignore',
      cancelSignal: signal,
      env: {
        LC_ALL: 'C',
        // binding.gyp asks `node` for its list of sources and for node-addon-api's headers.
        NODE_PATH: packages,
        PATH: [dirname(host.execPath), host.env['PATH'] ?? '/usr/bin:/bin'].join(delimiter),
      },
    });
    let said = '';
    for await (const line of child.iterable({ from: 'all' })) {
      await log.write(`${line}\n`);
      onLine(line);
      if (said === '' && /(^|\s)(fatal )?error:|gyp ERR! stack Error:/.test(line))
        said = line.trim();
    }
    const result = await child;
    if (result.isCanceled) {
      throw new FlashmoeError('ERR_INTERRUPTED', 'the build of the engine was interrupted', {
        resumable: true,
      });
    }
    if (result.exitCode !== 0) {
      throw failed(`the engine could not be built${said === '' ? '' : `: ${said}`}`, logPath);
    }
  } finally {
    await log.close();
  }
}

function failed(message: string, log: string): FlashmoeError {
  return new FlashmoeError('ERR_ENGINE', `${message}; the log is ${log}`, {
    hint: `read the end of ${log}, then run the command again`,
    resumable: true,
    subject: log,
  });
}
