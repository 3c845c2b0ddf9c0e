// flashmoe setup --overnight: everything that can fail at once is tried here, then the work goes to launchd,
// systemd or a process of its own, and this command ends.

import { FlashmoeError } from '../base/errors.js';
import { SHARE_KEY } from '../share/offer.js';
import { powerWarnings } from '../machine/power.js';
import { PROVISION_LABEL, provisionService } from '../service-command.js';
import type { SetupChoice } from './setup-runner.js';
import { requireAgreement } from './agreement.js';
import { startInBackground } from './background.js';
import { shareOf } from './source.js';
import { COMMAND_ENTRY } from './service.js';
import type { AppContext } from './context.js';
import type { Surroundings } from './setup-request.js';
import type { SetupSession } from './setup-session.js';
import { setupArguments, type SetupCommand } from '../settings/setup-options.js';

/** What the job must be told of this shell's environment; secrets stay out, the definition is readable by all. */
const HANDED_ON = [
  ...['HF_ENDPOINT', 'HF_HOME', 'HF_HUB_CACHE', 'XDG_CACHE_HOME', 'HF_HUB_DOWNLOAD_TIMEOUT'],
  ...['HF_HUB_ETAG_TIMEOUT', 'HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'NO_PROXY', 'no_proxy'],
  ...['all_proxy', 'NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'TZ'],
];
const TOKENS = ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN', 'HF_TOKEN_PATH'];

export interface HandedOver {
  /** launchd, systemd, or a process of its own. */
  by: string;
  pid: number | null;
  log: string;
}

export async function handOver(
  context: AppContext,
  around: Surroundings,
  runner: SetupSession,
  words: SetupCommand,
  choice: SetupChoice,
): Promise<HandedOver> {
  const { host, signal, home } = context;
  if ((shareOf(words.from, host.env)?.key ?? null) !== null) {
    throw new FlashmoeError(
      'ERR_USAGE',
      `${SHARE_KEY} is not handed to a job, as others could read it`,
      {
        hint: 'leave --overnight away; killed, the setup goes on when it is run again',
      },
    );
  }
  const running = await around.manager?.status(PROVISION_LABEL, signal);
  if (running?.running) {
    throw new FlashmoeError('ERR_LOCKED', 'a setup is at work overnight already', {
      hint: '`flashmoe attach` shows it, `flashmoe stop` ends it',
    });
  }
  await runner.machine(signal);
  const plan = await runner.plan(choice, signal);
  if (words.yes !== true) requireAgreement(plan, words);
  await runner.close();
  for (const warning of await powerWarnings(host, signal)) context.note(`warning: ${warning}`);

  const args = setupArguments({ ...words, overnight: null, yes: true, json: true });
  const { manager } = around;
  if (manager === null) {
    const { pid, log } = await startInBackground(context, args);
    context.note(
      'no launchd or systemd user manager here: it will not go on by itself after a restart',
    );
    return { by: 'process', pid, log };
  }
  const lost = TOKENS.filter((name) => host.env[name] !== undefined);
  if (lost.length > 0) {
    context.note(
      `${lost.join(', ')} is not handed on, as others could read it; a token file is found`,
    );
  }
  const spec = provisionService({
    node: host.execPath,
    entry: COMMAND_ENTRY,
    home,
    args,
    environment: Object.fromEntries(
      HANDED_ON.flatMap((name) => {
        const value = host.env[name];
        return value === undefined ? [] : [[name, value]];
      }),
    ),
  });
  const { pid } = await manager.install(spec, signal);
  return { by: manager.kind, pid, log: spec.stdoutPath };
}

/** What an overnight job does last when nobody stopped it: it ends itself, so its definition goes and nobody is told to stop it. */
export async function leaveNoJob(
  context: AppContext,
  around: Surroundings,
  ended: boolean,
): Promise<void> {
  if (context.host.env['FLASHMOE_JOB'] !== PROVISION_LABEL || !ended) return;
  await around.manager?.forget(PROVISION_LABEL);
}
