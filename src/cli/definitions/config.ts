import type { Command } from 'commander';
import { examples, settingModelOption } from '../command-options.js';
import type { Done, Open } from '../definition.js';

const KEY = 'a key of docs/settings.md, for example port';

export function defineConfig(program: Command, open: Open, done: Done): void {
  const group = program.command('config').description('show and change settings.json');
  examples(group, [
    ['flashmoe config list', 'what is set, and what is wrong'],
    ['flashmoe config set port 8080', 'checked, then written'],
  ]);
  defineList(group, open, done);
  defineGet(group, open, done);
  defineSet(group, open, done);
  defineUnset(group, open, done);
  definePath(group, open, done);
}

function defineList(group: Command, open: Open, done: Done): void {
  const command = group
    .command('list')
    .description('every key that is set, and what is wrong in the file')
    .action(async () => {
      const { listSettings } = await import('../commands/config.js');
      done(await listSettings(await open(command)));
    });
  examples(command, [
    ['flashmoe config list', 'one line a key'],
    ['flashmoe config list --json', 'for a program'],
  ]);
}

function defineGet(group: Command, open: Open, done: Done): void {
  const command = group
    .command('get')
    .description('print the value of one key; exit status 1 where it is not set')
    .argument('<key>', KEY)
    .addOption(settingModelOption())
    .action(async (key: string, { model }: { model?: string }) => {
      const { getSetting } = await import('../commands/config.js');
      done(await getSetting(await open(command), key, model ?? null));
    });
  examples(command, [
    ['flashmoe config get model', 'the model that answers'],
    ['flashmoe config get backend --model tiny', 'of one model'],
  ]);
}

function defineSet(group: Command, open: Open, done: Done): void {
  const command = group
    .command('set')
    .description('set one key')
    .argument('<key>', KEY)
    .argument('<value>', 'as docs/settings.md says for the key')
    .addOption(settingModelOption())
    .action(async (key: string, value: string, { model }: { model?: string }) => {
      const { setSetting } = await import('../commands/config.js');
      done(await setSetting(await open(command), key, value, model ?? null));
    });
  examples(command, [
    ['flashmoe config set port 8080', 'from the next start on'],
    ['flashmoe config set backend cpu --model tiny', 'for one model'],
  ]);
}

function defineUnset(group: Command, open: Open, done: Done): void {
  const command = group
    .command('unset')
    .description('remove one key, so that its default holds')
    .argument('<key>', KEY)
    .addOption(settingModelOption())
    .action(async (key: string, { model }: { model?: string }) => {
      const { unsetSetting } = await import('../commands/config.js');
      done(await unsetSetting(await open(command), key, model ?? null));
    });
  examples(command, [['flashmoe config unset port', '11435 again']]);
}

function definePath(group: Command, open: Open, done: Done): void {
  const command = group
    .command('path')
    .description('print the path of settings.json')
    .action(async () => {
      const { printPath } = await import('../commands/config.js');
      done(printPath(await open(command)));
    });
  examples(command, [['flashmoe config path', 'whether it exists or not']]);
}
