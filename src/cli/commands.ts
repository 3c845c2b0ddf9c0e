// Every command, in the order of the help. Names, options and examples of one are in definitions/, what it
// does in commands/.

import type { Command } from 'commander';
import { examples } from './command-options.js';
import type { Done, Open } from './definition.js';
import { defineBench } from './definitions/bench.js';
import { defineCalibrate } from './definitions/calibrate.js';
import { defineChat } from './definitions/chat.js';
import { defineConfig } from './definitions/config.js';
import { defineConnect, defineLaunch } from './definitions/connect.js';
import { defineCompletions } from './definitions/completions.js';
import { defineDoctor } from './definitions/doctor.js';
import { defineEval } from './definitions/eval.js';
import { defineLogits } from './definitions/logits.js';
import { defineJob } from './definitions/job.js';
import { defineModels } from './definitions/models.js';
import { defineMv } from './definitions/mv.js';
import { definePlan } from './definitions/plan.js';
import { definePs } from './definitions/ps.js';
import { defineQuality } from './definitions/quality.js';
import { defineRequantise } from './definitions/requantise.js';
import { defineReport } from './definitions/report.js';
import { defineRm } from './definitions/rm.js';
import { defineRun } from './definitions/run.js';
import { defineServe } from './definitions/serve.js';
import { defineService } from './definitions/service.js';
import { definePull, defineSetup } from './definitions/setup.js';
import { defineShare } from './definitions/share.js';
import { defineShow } from './definitions/show.js';
import { defineStatus } from './definitions/status.js';
import { defineUninstall } from './definitions/uninstall.js';
import { defineUpdate } from './definitions/update.js';
import { defineUse } from './definitions/use.js';
import { defineVersion } from './definitions/version.js';
import { defineVerify } from './definitions/verify.js';

/** Adds all commands to `program`. `open` builds the context of a run, `done` takes its exit status. */
export function defineCommands(program: Command, open: Open, done: Done): void {
  examples(program, [
    ['flashmoe setup', 'choose a model for this machine and provision it'],
    ['flashmoe plan qwen3.5-397b', 'exact bytes, disk and time; changes nothing'],
    ['flashmoe chat', 'talk to it'],
    ['flashmoe run "Why is the sky blue?"', 'one answer on stdout'],
    ['flashmoe serve', 'an OpenAI-compatible server on 127.0.0.1:11435'],
  ]);
  // What people do every day comes first in each group.
  program.commandsGroup('Get a model:');
  defineSetup(program, open, done);
  definePull(program, open, done);
  defineModels(program, open, done);
  definePlan(program, open, done);
  defineJob(program, open, done);
  defineReport(program, open, done);
  program.commandsGroup('Use it:');
  defineChat(program, open, done);
  defineRun(program, open, done);
  defineServe(program, open, done);
  definePs(program, open, done);
  defineConnect(program, open, done);
  defineLaunch(program, open, done);
  defineUse(program, open, done);
  defineService(program, open, done);
  program.commandsGroup('Look after it:');
  defineStatus(program, open, done);
  defineShow(program, open, done);
  defineDoctor(program, open, done);
  defineVerify(program, open, done);
  defineRequantise(program, open, done);
  defineUpdate(program, open, done);
  defineMv(program, open, done);
  defineRm(program, open, done);
  defineShare(program, open, done);
  defineConfig(program, open, done);
  defineUninstall(program, open, done);
  program.commandsGroup('Measure it:');
  defineBench(program, open, done);
  defineEval(program, open, done);
  defineQuality(program, open, done);
  defineCalibrate(program, open, done);
  defineLogits(program, open, done);
  program.commandsGroup('Shells and pages:');
  defineCompletions(program, open, done);
  defineVersion(program, open, done);
}
