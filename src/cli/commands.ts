// Every command, in the order of the help. Names, options and examples of one are in definitions/, what it
// does in commands/. A definition is loaded when its command is typed; all of them are for the help and what is made from it.

import type { Command } from 'commander';
import { examples } from './command-options.js';
import type { Done, Open } from './definition.js';

type Define = (program: Command, open: Open, done: Done) => void;

interface Entry {
  /** What may be typed for it. */
  names: readonly string[];
  load: () => Promise<Define>;
}

// What people do every day comes first in each group.
const GROUPS: readonly { title: string; entries: readonly Entry[] }[] = [
  {
    title: 'Get a model:',
    entries: [
      entry(['setup'], async () => (await import('./definitions/setup.js')).defineSetup),
      entry(['pull'], async () => (await import('./definitions/setup.js')).definePull),
      entry(['models'], async () => (await import('./definitions/models.js')).defineModels),
      entry(['plan'], async () => (await import('./definitions/plan.js')).definePlan),
      entry(
        ['attach', 'limit', 'hours', 'pause', 'resume', 'stop'],
        async () => (await import('./definitions/job.js')).defineJob,
      ),
      entry(['report'], async () => (await import('./definitions/report.js')).defineReport),
    ],
  },
  {
    title: 'Use it:',
    entries: [
      entry(['chat'], async () => (await import('./definitions/chat.js')).defineChat),
      entry(['run'], async () => (await import('./definitions/run.js')).defineRun),
      entry(['serve'], async () => (await import('./definitions/serve.js')).defineServe),
      entry(['ps'], async () => (await import('./definitions/ps.js')).definePs),
      entry(['connect'], async () => (await import('./definitions/connect.js')).defineConnect),
      entry(['launch'], async () => (await import('./definitions/connect.js')).defineLaunch),
      entry(['use'], async () => (await import('./definitions/use.js')).defineUse),
      entry(['service'], async () => (await import('./definitions/service.js')).defineService),
    ],
  },
  {
    title: 'Look after it:',
    entries: [
      entry(
        ['status', 'list', 'ls'],
        async () => (await import('./definitions/status.js')).defineStatus,
      ),
      entry(['show'], async () => (await import('./definitions/show.js')).defineShow),
      entry(['doctor'], async () => (await import('./definitions/doctor.js')).defineDoctor),
      entry(['verify'], async () => (await import('./definitions/verify.js')).defineVerify),
      entry(
        ['requantise'],
        async () => (await import('./definitions/requantise.js')).defineRequantise,
      ),
      entry(['update'], async () => (await import('./definitions/update.js')).defineUpdate),
      entry(['mv'], async () => (await import('./definitions/mv.js')).defineMv),
      entry(['rm'], async () => (await import('./definitions/rm.js')).defineRm),
      entry(['share'], async () => (await import('./definitions/share.js')).defineShare),
      entry(['config'], async () => (await import('./definitions/config.js')).defineConfig),
      entry(['upgrade'], async () => (await import('./definitions/upgrade.js')).defineUpgrade),
      entry(
        ['uninstall'],
        async () => (await import('./definitions/uninstall.js')).defineUninstall,
      ),
    ],
  },
  {
    title: 'Measure it:',
    entries: [
      entry(['bench'], async () => (await import('./definitions/bench.js')).defineBench),
      entry(['eval'], async () => (await import('./definitions/eval.js')).defineEval),
      entry(['quality'], async () => (await import('./definitions/quality.js')).defineQuality),
      entry(
        ['calibrate'],
        async () => (await import('./definitions/calibrate.js')).defineCalibrate,
      ),
      entry(['logits'], async () => (await import('./definitions/logits.js')).defineLogits),
    ],
  },
  {
    title: 'Shells and pages:',
    entries: [
      // No name of its own here: what these print is made from all commands.
      entry([], async () => (await import('./definitions/completions.js')).defineCompletions),
      entry(['version'], async () => (await import('./definitions/version.js')).defineVersion),
    ],
  },
];

/** What may be typed first. */
export const commandNames: readonly string[] = [
  ...GROUPS.flatMap(({ entries }) => entries.flatMap(({ names }) => names)),
  ...['completions', 'man', 'help'],
];

function entry(names: readonly string[], load: Entry['load']): Entry {
  return { names, load };
}

/**
 * Adds all commands to `program`, or only those that `typed`, the first word, can mean. `open` builds the context of a
 * run, `done` takes its exit status.
 */
export async function defineCommands(
  program: Command,
  open: Open,
  done: Done,
  typed?: string,
): Promise<void> {
  const meant = GROUPS.flatMap(({ entries }) => entries).find(
    ({ names }) => typed !== undefined && names.includes(typed),
  );
  if (meant !== undefined) {
    (await meant.load())(program, open, done);
    return;
  }
  examples(program, [
    ['flashmoe setup', 'choose a model for this machine and provision it'],
    ['flashmoe plan qwen3.5-397b', 'exact bytes, disk and time; changes nothing'],
    ['flashmoe chat', 'talk to it'],
    ['flashmoe run "Why is the sky blue?"', 'one answer on stdout'],
    ['flashmoe serve', 'an OpenAI-compatible server on 127.0.0.1:11435'],
  ]);
  for (const { title, entries } of GROUPS) {
    program.commandsGroup(title);
    const defines = await Promise.all(entries.map(({ load }) => load()));
    for (const define of defines) define(program, open, done);
  }
}
