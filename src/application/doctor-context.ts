// The machine and this installation as the doctor's checks see them.

import { asFlashmoeError } from '../base/errors.js';
import { HubClient } from '../hub/client.js';
import { CATALOG } from '../models/catalog.js';
import { basename, join } from 'node:path';
import { probeBackend, probeDevice, type BackendTest } from '../addon/backend-probe.js';
import { packageRoot } from '../base/package-root.js';
import { probeAddon } from '../addon/probe.js';
import { measureReadRates } from '../addon/read-rate.js';
import { exec } from '../base/exec.js';
import type { DoctorContext, ModelsOnDisk, HubAnswer } from '../doctor/context.js';
import { hubSettings } from '../hub/settings.js';
import { tokenVerdict } from '../hub/whoami.js';
import type { KnownAnswer } from '../store/receipt.js';
import { refusal } from '../installer/judge.js';
import { portOwner } from '../server/port-owner.js';
import { DEFAULT_PORT } from '../server/serve.js';
import { detectServiceManager } from '../service-manager.js';
import { serviceOf } from './service.js';
import { commandLine } from './command-line.js';
import type { AppContext } from './context.js';
import { listInstallations } from './installations.js';
import { chooseInstalled } from './installed.js';
import { judgeInstalled } from './judge-installed.js';
import { addonPaths, nativeAddon } from './native.js';
import { stateOf } from './state-of.js';
import { inspectSettings } from '../settings/file.js';

const KERNELS = join(packageRoot, 'metal');

export async function doctorContext(context: AppContext): Promise<DoctorContext> {
  const { host, home, version } = context;
  // Asked twice by a self-test that goes on to measure: a minute each.
  const tested = new Map<string, Promise<BackendTest>>();
  // One for all backends: their inputs are to be the same.
  const seed = host.now() % 2 ** 32;
  // What is wrong in the file is a finding of its own; the rest is looked at all the same.
  const { settings } = await inspectSettings(home.settings);
  return {
    host,
    version,
    home,
    exec,
    port: settings.port ?? DEFAULT_PORT,
    portOwner,
    models: () => modelsOnDisk(context),
    addonPaths: addonPaths(context),
    probeAddon: (path, signal) => probeAddon(path, host.execPath, signal),
    probeBackend: (path, backend, signal) => {
      const probe = { path, backend, kernelsDir: KERNELS, seed, node: host.execPath };
      const test = tested.get(path + backend) ?? probeBackend(probe, signal);
      tested.set(path + backend, test);
      return test;
    },
    probeDevice: (path, signal) => probeDevice({ path, node: host.execPath }, signal),
    measureReads: ({ files, expertBytes }, signal) =>
      measureReadRates(nativeAddon(context), {
        ...{ files, expertBytes, signal },
        depths: [1, 4, 8],
        milliseconds: 700,
        seed: Math.floor(host.now()),
      }),
    askKnown: (id, signal) => askKnown(context, id, signal),
    tokenVerdict: async (signal) => {
      const { env, homeDirectory } = host;
      const { settings: hub } = await hubSettings({
        ...{ env, homeDirectory },
        userAgent: `flashmoe/${version}`,
      });
      return tokenVerdict(hub, signal);
    },
    hubAnswer: (signal) => hubAnswer(context, signal),
    serviceManager: (signal) => detectServiceManager(host, signal),
    service: serviceOf(context),
  };
}

/** That a repository is unknown or locked is an answer, too. */
async function hubAnswer(
  { host, version }: AppContext,
  signal: AbortSignal,
): Promise<HubAnswer | null> {
  const { env, homeDirectory } = host;
  const userAgent = `flashmoe/${version}`;
  const { settings } = await hubSettings({ env, homeDirectory, userAgent });
  if (settings.offline) return null;
  const client = new HubClient(settings, {
    metadataRetry: { attempts: 1, baseMs: 100, capMs: 100 },
  });
  const began = host.monotonic();
  const answered = (problem: string | null, hint: string | null): HubAnswer => {
    const milliseconds = host.monotonic() - began;
    return { endpoint: settings.endpoint, milliseconds, problem, hint };
  };
  const [asked] = CATALOG;
  try {
    await client.resolveCommit(asked?.repo ?? '', 'main', { signal, emit: () => undefined });
    return answered(null, null);
  } catch (thrown) {
    const { code, message, hint = null } = asFlashmoeError(thrown);
    const isAnswer = ['ERR_NOT_FOUND', 'ERR_REVISION', 'ERR_AUTH'].includes(code);
    // Which repository was asked is nothing to the reader.
    const problem = message.replace(`${asked?.repo ?? ''}: `, '').replace(/ \(https?:[^)]*\)$/, '');
    return isAnswer ? answered(null, null) : answered(problem, hint);
  } finally {
    client.close();
  }
}

async function modelsOnDisk({ home }: AppContext): Promise<ModelsOnDisk> {
  const models: ModelsOnDisk = { complete: [], unfinished: [], unreadable: [] };
  for (const installation of await listInstallations(home)) {
    const { id, paths, manifest, problem } = installation;
    if (problem !== null || manifest === null) {
      const { state, why, next } = await stateOf(installation, null);
      const to = problem === null ? models.unfinished : models.unreadable;
      to.push({ id, state, why, next: commandLine(next) });
    } else {
      const { model, quant, files, receipt } = manifest;
      const experts = basename(paths.experts(quant));
      const tokensPerSecond = receipt?.tokensPerSecond ?? null;
      const { root } = paths;
      models.complete.push({ id, root, files, model, quant, experts, tokensPerSecond });
    }
  }
  return models;
}

/** The last step of a setup once more: same questions, same judges, and the same note in the manifest. */
async function askKnown(
  context: AppContext,
  id: string,
  signal: AbortSignal,
): Promise<KnownAnswer[]> {
  const ready = await chooseInstalled(context, id);
  const { report } = await judgeInstalled(context, ready, signal);
  if (report.verdict === 'failed') throw refusal(id, report);
  return report.answers;
}
