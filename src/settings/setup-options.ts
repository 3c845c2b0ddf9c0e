// What a setup may be asked for: flags of `setup` and `plan`, the arguments of the same setup in another process, and the
// fields of a program's request. A new option is named here and used where it matters; nothing between needs to know it.

import { QUANTS, type Quant } from '../models/quant.js';
import { byteCount, hours, oneOf, path, rate, text, time } from './kinds.js';
import { argumentsOf, option, toggle, type Values } from './option.js';

/** What is made, and from what: `plan` takes these, too. */
export const checkpointOptions = {
  repo: option('--repo <org/name>', 'a repository of a supported family on the hub', text),
  revision: option('--revision <name>', 'branch, tag or commit', text, 'main'),
  file: option('--file <pattern>', "GGUF: which file of it, as '*Q4_K_M*'", text),
  from: option(
    '--from <where>',
    'checkpoint folder, GGUF file, Hugging Face cache, or share URL',
    text,
  ),
  quant: option<Quant>('--quant <bits>', 'of the experts', oneOf(QUANTS), '4bit'),
  size: option('--size <bytes>', 'mixed, tiered: 4 bits where they help most, in 150GB', byteCount),
  calibration: option(
    '--calibration <file>',
    'weigh errors by `flashmoe calibrate`; tiered needs it',
    path,
  ),
  likeMlx: toggle('--like-mlx', 'an original: codes as MLX on a Mac would choose them'),
  chatTemplate: option('--chat-template <file>', 'a Jinja template in place of its own', path),
};

export const setupOptions = {
  ...checkpointOptions,
  keepSource: toggle('--keep-source', 'keep the checkpoint itself, too, as the hub has it'),
  service: toggle('--no-service', 'leave the server at login alone'),
  limit: option('--limit <rate>', 'at most 20MB/s, 100Mbit/s, …; off', rate),
  hours: option('--hours <from-to>', 'use the line from 23:00-07:00 only; off', hours),
  deadline: option('--deadline <when>', 'give up for now at 07:00, or after 8h', time),
  overnight: toggle('--overnight', 'hand it to launchd or systemd, and end here'),
  yes: toggle('-y, --yes', 'agree to the plan; off a terminal needed above 1 GB'),
};

/** Those of every command that a second process has to be told, too. */
export const programOptions = {
  json: toggle('--json', 'NDJSON on stdout, the last line is the result'),
  home: option('--home <dir>', 'for models and settings (else FLASHMOE_HOME, ~/.flashmoe)', text),
};

export type CheckpointOptions = Values<typeof checkpointOptions> & NamedModel;
export type SetupOptions = Values<typeof setupOptions> & NamedModel;
/** A setup as it is typed. */
export type SetupCommand = SetupOptions & Values<typeof programOptions>;

interface NamedModel {
  /** A name of the catalogue; null: the repository says which. */
  model: string | null;
}

/** Arguments of `flashmoe` for this very setup, for a person to paste or a process to be started with. */
export function setupArguments(command: SetupCommand): string[] {
  const { model, repo } = command;
  const named = repo === null && model !== null ? [model] : [];
  return ['setup', ...named, ...argumentsOf({ ...setupOptions, ...programOptions }, command)];
}
