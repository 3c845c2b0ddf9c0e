// flashmoe config list | get | set | unset | path: settings.json, checked key by key.

import { EXIT, FlashmoeError } from '../../base/errors.js';
import { changeSettings, inspectSettings } from '../../settings/file.js';
import { readValue, type Option } from '../../settings/option.js';
import { MODEL_SETTINGS, SETTINGS } from '../../settings/schema.js';
import type { CliContext } from '../context.js';
import { choose, readyInstallations } from '../../application/ready-models.js';

/** Exit status 1 when something in the file can't be used. */
export async function listSettings(context: CliContext): Promise<number> {
  const path = context.home.settings;
  const { settings, unknown, problems } = await inspectSettings(path);
  if (context.json) {
    context.emit('settings', { path, settings, unknown, problems });
  } else {
    for (const [key, value] of Object.entries(settings)) {
      if (key !== 'models') context.print(`${key} = ${String(value)}`);
    }
    for (const [id, own] of Object.entries(settings.models ?? {})) {
      for (const [key, value] of Object.entries(own))
        context.print(`${key} = ${String(value)}  (${id})`);
    }
    for (const key of unknown)
      context.note(`${key}: not known to this version; it was left as it is`);
    for (const problem of problems) context.note(`${path}: ${problem}`);
  }
  return problems.length === 0 ? EXIT.done : EXIT.failed;
}

export async function getSetting(
  context: CliContext,
  key: string,
  model: string | null,
): Promise<number> {
  const { option, id } = await keyOf(context, key, model);
  const { settings } = await inspectSettings(context.home.settings);
  const at: Readonly<Record<string, unknown>> =
    (id === null ? settings : settings.models?.[id]) ?? {};
  const value = at[key] ?? null;
  if (context.json) context.emit('setting', { key, model: id, value });
  else if (value !== null) context.print(option.kind.write(value));
  else context.note(`${key} is not set${id === null ? '' : ` for ${id}`}; ${defaultOf(option)}`);
  return value === null ? EXIT.failed : EXIT.done;
}

export async function setSetting(
  context: CliContext,
  key: string,
  text: string,
  model: string | null,
): Promise<number> {
  const { option, id } = await keyOf(context, key, model);
  const value = readValue(option, key, text, context.host.now());
  await changeSettings(context.home.settings, { [key]: value }, id);
  if (context.json) context.emit('setting', { key, model: id, value });
  else
    context.note(
      `${key} is ${String(value)}${id === null ? '' : ` for ${id}`}; a running server keeps what it has`,
    );
  return EXIT.done;
}

export async function unsetSetting(
  context: CliContext,
  key: string,
  model: string | null,
): Promise<number> {
  const { id } = await keyOf(context, key, model);
  await changeSettings(context.home.settings, { [key]: null }, id);
  if (context.json) context.emit('setting', { key, model: id, value: null });
  return EXIT.done;
}

export function printPath(context: CliContext): number {
  const path = context.home.settings;
  if (context.json) context.emit('settings', { path });
  else context.print(path);
  return EXIT.done;
}

function defaultOf({ fallback }: Option<unknown>): string {
  return fallback === null ? 'flashmoe decides' : `its default is ${fallback}`;
}

/** Throws ERR_USAGE for a key that there is not, or not for one model; ERR_MODEL_MISSING for a model that is not here. */
async function keyOf(
  context: CliContext,
  key: string,
  model: string | null,
): Promise<{ option: Option<unknown>; id: string | null }> {
  const set: Readonly<Record<string, Option<unknown>>> = model === null ? SETTINGS : MODEL_SETTINGS;
  const option = Object.hasOwn(set, key) ? set[key] : undefined;
  if (option === undefined) {
    const where = model === null ? 'settings.json' : 'the settings of one model';
    throw new FlashmoeError('ERR_USAGE', `${where} has no key ${key}`, {
      hint: `there are ${Object.keys(set).join(', ')}`,
      subject: key,
    });
  }
  // Without the settings, which may be what is to be corrected.
  const id = model === null ? null : choose(await readyInstallations(context.home), model, {}).id;
  return { option, id };
}
