// Names, options and examples of every command. Help is made from this, and what a command does is
// imported only when it runs.

import { Option, type Command } from 'commander';
import type { Quant } from '../installer/events.js';
import {
  examples,
  modelOption,
  oneModel,
  portNumber,
  quantOption,
  repoOption,
  revisionOption,
  temperature,
  wholeNumber,
} from './command-options.js';
import type { CliContext } from './context.js';

export type Open = (command: Command) => Promise<CliContext>;
export type Done = (status: number) => void;

/** Adds all commands to `program`. `open` builds the context of a run, `done` takes its exit status. */
export function defineCommands(program: Command, open: Open, done: Done): void {
  examples(program, [
    ['flashmoe setup', 'choose a model for this machine and provision it'],
    ['flashmoe plan qwen3.5-397b', 'exact bytes, disk and time; changes nothing'],
    ['flashmoe run "Why is the sky blue?"', 'one answer on stdout'],
    ['flashmoe serve', 'an OpenAI-compatible server on 127.0.0.1:11435'],
  ]);
  defineSetup(program, open, done);
  definePlan(program, open, done);
  defineModels(program, open, done);
  defineStatus(program, open, done);
  defineServe(program, open, done);
  defineRun(program, open, done);
  defineVerify(program, open, done);
  defineEval(program, open, done);
  defineDoctor(program, open, done);
  defineService(program, open, done);
  defineUninstall(program, open, done);
}

interface SetupFlags {
  model?: string;
  repo?: string;
  revision?: string;
  quant?: Quant;
  yes?: boolean;
  service: boolean;
}

function defineSetup(program: Command, open: Open, done: Done): void {
  const command = program
    .command('setup')
    .description('provision a model: fetch, verify, pack, and ask it what is known')
    .argument('[model]', 'a name of `flashmoe models`; without it a terminal asks')
    .option('--model <name>', 'the same as [model]')
    .addOption(repoOption())
    .addOption(revisionOption())
    .addOption(quantOption())
    .option('-y, --yes', 'agree to the plan; off a terminal needed above 1 GB')
    .option('--no-service', 'leave the server at login alone')
    .action(async (model: string | undefined, flags: SetupFlags) => {
      const { setup } = await import('./commands/setup.js');
      const { repo = null, revision = null, quant = null, yes = false, service } = flags;
      const context = await open(command);
      const { json, homeOption: home } = context;
      const name = oneModel(model, flags.model);
      done(await setup(context, { model: name, repo, revision, quant, yes, service, json, home }));
    });
  examples(command, [
    ['flashmoe setup', 'on a terminal: a wizard'],
    ['flashmoe setup qwen3.5-397b --quant 2bit --yes', 'nothing is asked'],
    ['flashmoe setup --repo org/name --json --yes', 'events as NDJSON'],
  ]);
}

function definePlan(program: Command, open: Open, done: Done): void {
  const command = program
    .command('plan')
    .description('what a setup would download and keep; changes nothing')
    .argument('[model]', 'a name of `flashmoe models`; the recommended one without it')
    .addOption(repoOption())
    .addOption(revisionOption())
    .addOption(quantOption())
    .action(async (model: string | undefined, flags: Omit<SetupFlags, 'model'>) => {
      const { plan } = await import('./commands/plan.js');
      const { repo = null, revision = null, quant = null } = flags;
      done(await plan(await open(command), { model: model ?? null, repo, revision, quant }));
    });
  examples(command, [
    ['flashmoe plan', 'what this machine is best for'],
    ['flashmoe plan qwen3.5-397b --quant 2bit', 'exact bytes, disk and time'],
    ['flashmoe plan --repo org/name --json', 'any repository we can read'],
  ]);
}

function defineModels(program: Command, open: Open, done: Done): void {
  const command = program
    .command('models')
    .description('the catalogue, with a verdict for this machine')
    .action(async () => {
      const { models } = await import('./commands/models.js');
      done(await models(await open(command)));
    });
  examples(command, [
    ['flashmoe models', 'a table'],
    ['flashmoe models --json', 'exact sizes and verdicts'],
  ]);
}

function defineStatus(program: Command, open: Open, done: Done): void {
  const command = program
    .command('status')
    .description('what is on disk, and which setup is under way')
    .action(async () => {
      const { status } = await import('./commands/status.js');
      done(await status(await open(command)));
    });
  examples(command, [
    ['flashmoe status', 'a table'],
    ['flashmoe status --json', 'one JSON line, for scripts'],
  ]);
}

function defineServe(program: Command, open: Open, done: Done): void {
  const command = program
    .command('serve')
    .description('serve a model in the OpenAI dialect, on loopback')
    .addOption(modelOption())
    .option('--host <address>', 'address to listen on; any but loopback needs FLASHMOE_API_KEY')
    .addOption(new Option('--port <port>', 'port, 0 for any free one').argParser(portNumber))
    .action(async (flags: { model?: string; host?: string; port?: number }) => {
      const { serve } = await import('./commands/serve.js');
      const { model = null, host = null, port = null } = flags;
      done(await serve(await open(command), { model, host, port }));
    });
  examples(command, [
    ['flashmoe serve', 'on 127.0.0.1:11435'],
    ['flashmoe serve --model tiny --port 8080', 'another model'],
    ['FLASHMOE_API_KEY=secret flashmoe serve --host 0.0.0.0', 'for other machines'],
  ]);
}

interface RunFlags {
  model?: string;
  system?: string;
  maxTokens?: number;
  temperature?: number;
  seed?: number;
  thinking?: boolean;
}

function defineRun(program: Command, open: Open, done: Done): void {
  const command = program
    .command('run')
    .description('answer one prompt on stdout')
    .argument('[prompt]', 'the prompt; read from stdin without it or with -')
    .addOption(modelOption())
    .option('--system <text>', 'a system message before the prompt')
    .addOption(new Option('--max-tokens <n>', 'end after so many tokens').argParser(wholeNumber))
    .addOption(new Option('--temperature <t>', '0 for greedy').argParser(temperature))
    .addOption(new Option('--seed <n>', 'same seed, same answer').argParser(wholeNumber))
    .option('--thinking', 'let the model think first')
    .option('--no-thinking', 'answer at once')
    .action(async (prompt: string | undefined, flags: RunFlags) => {
      const { run } = await import('./commands/run.js');
      const { model = null, system = null, maxTokens = null } = flags;
      const { temperature = null, seed = null, thinking = null } = flags;
      const args = { model, system, maxTokens, temperature, seed, thinking };
      done(await run(await open(command), { prompt: prompt ?? null, ...args }));
    });
  examples(command, [
    ['flashmoe run "Why is the sky blue?"', 'as it is generated'],
    ['git diff | flashmoe run --system "Review this."', 'a prompt from a pipe'],
    ['flashmoe run --temperature 0 --json "2+2"', 'with usage and timings'],
  ]);
}

function defineVerify(program: Command, open: Open, done: Done): void {
  const command = program
    .command('verify')
    .description('read every file again and compare its hash')
    .argument('[model]', 'a name of `flashmoe status`; all models without it')
    .action(async (model: string | undefined) => {
      const { verify } = await import('./commands/verify.js');
      done(await verify(await open(command), model ?? null));
    });
  examples(command, [
    ['flashmoe verify', 'all models; exit status 1 when a file differs'],
    ['flashmoe verify tiny --json', 'every file with its verdict'],
  ]);
}

interface EvalFlags {
  skills?: string[];
  experts?: number;
  quant?: Quant;
  limit?: number;
  prompts?: string;
}

function defineEval(program: Command, open: Open, done: Done): void {
  const command = program
    .command('eval')
    .description('ask a model questions whose answers are known, and count the right ones')
    .argument('[model]', 'a name of `flashmoe status`')
    .option('--skills <names...>', 'some of the skills; all without it')
    .option(
      '--experts <count>',
      'experts per token, fewer than the model was made for',
      wholeNumber,
    )
    .addOption(quantOption())
    .option('--limit <count>', 'so many prompts of each skill', wholeNumber)
    .option('--prompts <folder>', 'other prompts: one JSON object a line, one file a skill')
    .action(async (model: string | undefined, flags: EvalFlags) => {
      const { evaluateModel } = await import('./commands/eval.js');
      const args = {
        model: model ?? null,
        skills: flags.skills ?? [],
        experts: flags.experts ?? null,
        quant: flags.quant ?? null,
        limit: flags.limit ?? null,
        prompts: flags.prompts ?? null,
      };
      done(await evaluateModel(await open(command), args));
    });
  examples(command, [
    ['flashmoe eval tiny', 'all skills'],
    ['flashmoe eval tiny --skills tool_call --experts 4', 'four experts a token'],
    ['flashmoe eval tiny --quant 2bit --json', 'every wrong answer'],
  ]);
}

function defineDoctor(program: Command, open: Open, done: Done): void {
  const command = program
    .command('doctor')
    .description('examine machine and installation; changes nothing')
    .option('--only <checks...>', 'checks or groups to run')
    .option('--list', 'name all checks')
    .action(async ({ only, list }: { only?: string[]; list?: boolean }) => {
      const { doctor } = await import('./commands/doctor.js');
      done(await doctor(await open(command), { only: only ?? [], list: list ?? false }));
    });
  examples(command, [
    ['flashmoe doctor', 'all checks; exit status 1 when one fails'],
    ['flashmoe doctor --only disk service', 'some of them'],
    ['flashmoe doctor --json', 'findings with stable ids'],
  ]);
}

function defineService(program: Command, open: Open, done: Done): void {
  const service = program
    .command('service')
    .description('the server at login, by launchd or systemd')
    .usage('install | uninstall | status')
    .helpCommand(false);
  examples(service, [
    ['flashmoe service install', 'start the server now and at every login'],
    ['flashmoe service install --dry-run', 'print the definition, change nothing'],
    ['flashmoe service status --json', 'for scripts'],
  ]);
  const install = service
    .command('install')
    .description('start the server now and at every login')
    .option('--dry-run', 'print the definition file, change nothing')
    .action(async ({ dryRun }: { dryRun?: boolean }) => {
      const { installService } = await import('./commands/service.js');
      done(await installService(await open(install), { dryRun: dryRun ?? false }));
    });
  examples(install, [['flashmoe service install --dry-run', 'print the definition first']]);
  const uninstall = service
    .command('uninstall')
    .description('stop the server and remove the definition; models stay')
    .action(async () => {
      const { uninstallService } = await import('./commands/service.js');
      done(await uninstallService(await open(uninstall)));
    });
  examples(uninstall, [['flashmoe service uninstall', 'models and settings stay']]);
  const status = service
    .command('status')
    .description('whether it is installed and running')
    .action(async () => {
      const { serviceStatus } = await import('./commands/service.js');
      done(await serviceStatus(await open(status)));
    });
  examples(status, [['flashmoe service status --json', 'for scripts']]);
}

function defineUninstall(program: Command, open: Open, done: Done): void {
  const command = program
    .command('uninstall')
    .description('delete a model, or everything that flashmoe has written')
    .argument('[model]', 'a name of `flashmoe status`; everything without it')
    .option('--dry-run', 'show what would go, with sizes')
    .option('-y, --yes', 'delete it')
    .action(async (model: string | undefined, flags: { dryRun?: boolean; yes?: boolean }) => {
      const { uninstall } = await import('./commands/uninstall.js');
      const args = { model: model ?? null, dryRun: flags.dryRun ?? false, yes: flags.yes ?? false };
      done(await uninstall(await open(command), args));
    });
  examples(command, [
    ['flashmoe uninstall --dry-run', 'what would go, with sizes'],
    ['flashmoe uninstall tiny --yes', 'one model; others, engine and service stay'],
    ['flashmoe uninstall --yes', 'models, engine, logs, settings and service'],
  ]);
}
