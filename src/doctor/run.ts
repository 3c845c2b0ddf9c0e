// The doctor: checks run together, each in its own time box; findings come back in the order of the
// list; those that measure wait until the others have ended. It owns the examination and must not know how findings are printed.

import { setTimeout } from 'node:timers/promises';
import { asFlashmoeError, FlashmoeError } from '../base/errors.js';
import type { Check } from './check.js';
import type { DoctorReport, Finding, Severity } from './finding.js';
import { SEVERITIES } from './finding.js';
import type { DoctorContext } from './context.js';

export interface DoctorOptions {
  signal: AbortSignal;
  /** Ids or groups of checks; all when absent. */
  only?: readonly string[];
}

/** Runs the chosen checks. ERR_USAGE for an id there is none of; ERR_INTERRUPTED after an abort. */
export async function examine(
  checks: readonly Check[],
  context: DoctorContext,
  { signal, only }: DoctorOptions,
): Promise<DoctorReport> {
  const chosen = only === undefined ? checks : choose(checks, only);
  const shared = askOnce(context, signal);
  const found = new Map<Check, Finding[]>();
  const run = async (check: Check): Promise<void> => {
    found.set(check, await runOne(check, shared, signal));
  };
  await Promise.all(chosen.filter(({ alone }) => alone !== true).map(run));
  for (const check of chosen.filter(({ alone }) => alone === true)) await run(check);
  const findings = chosen.flatMap((check) => found.get(check) ?? []);
  if (signal.aborted) throw new FlashmoeError('ERR_INTERRUPTED', 'the examination was interrupted');
  const counts = Object.fromEntries(SEVERITIES.map((severity) => [severity, 0])) as Record<
    Severity,
    number
  >;
  for (const { severity } of findings) counts[severity] += 1;
  return { schema: 1, version: context.version, findings, counts, ok: counts.fail === 0 };
}

function choose(checks: readonly Check[], only: readonly string[]): Check[] {
  const matches = ({ id }: Check, name: string): boolean =>
    id === name || id.startsWith(`${name}.`);
  const unknown = only.find((name) => !checks.some((check) => matches(check, name)));
  if (unknown !== undefined) {
    throw new FlashmoeError('ERR_USAGE', `there is no check called ${unknown}`, {
      hint: `one of ${checks.map(({ id }) => id).join(', ')}, or the part before a dot`,
      subject: unknown,
    });
  }
  return checks.filter((check) => only.some((name) => matches(check, name)));
}

/** Checks that ask the same costly question share the answer, and outlive each other's time box. */
function askOnce(context: DoctorContext, signal: AbortSignal): DoctorContext {
  const probes = new Map<string, ReturnType<DoctorContext['probeAddon']>>();
  let models: ReturnType<DoctorContext['models']> | undefined;
  let manager: ReturnType<DoctorContext['serviceManager']> | undefined;
  return {
    ...context,
    models: () => (models ??= context.models(signal)),
    serviceManager: () => (manager ??= context.serviceManager(signal)),
    probeAddon: (path) => {
      const probe = probes.get(path) ?? context.probeAddon(path, signal);
      probes.set(path, probe);
      return probe;
    },
  };
}

/** A check that throws or hangs is a finding itself, with the check's id. */
async function runOne(
  check: Check,
  context: DoctorContext,
  signal: AbortSignal,
): Promise<Finding[]> {
  const box = new AbortController();
  const limit = setTimeout(check.timeoutMs, 'late' as const, { signal: box.signal });
  try {
    const outcome = await Promise.race([
      check.run(context, AbortSignal.any([signal, box.signal])),
      limit,
    ]);
    if (outcome !== 'late') return outcome;
    return [broken(check, `${check.title}: no answer within ${check.timeoutMs / 1000} s`)];
  } catch (thrown) {
    const { message, hint } = asFlashmoeError(thrown);
    return [{ ...broken(check, message), ...(hint === undefined ? {} : { hint }) }];
  } finally {
    // Also ends the timer; its rejection was taken by the race.
    box.abort();
  }
}

const broken = ({ id }: Check, title: string): Finding => ({ id, severity: 'fail', title });
