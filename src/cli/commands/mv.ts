// flashmoe mv MODEL DIR: to another folder or volume, verified before the source goes.

import { resolve } from 'node:path';
import { exec } from '../../base/exec.js';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { formatBytes, formatBytesBoth } from '../../base/format.js';
import { moveModel, type Moved, type MoveEvent } from '../../store/move/move.js';
import { volumeFacts } from '../../machine/volume-facts.js';
import { percent } from '../../ui/bar.js';
import { clockWithSeconds } from '../../base/clock.js';
import { commandLine } from '../../application/command-line.js';
import type { CliContext } from '../context.js';
import { chooseInstalled } from '../../application/installed.js';
import { nativeAddon } from '../../application/native.js';

export interface MvArgs {
  model: string;
  folder: string;
}

const PROGRESS_MS = 10_000;

export async function mv(context: CliContext, args: MvArgs): Promise<number> {
  const { home, host, signal } = context;
  const { id, paths, manifest } = await chooseInstalled(context, args.model);
  const folder = resolve(args.folder);
  const facts = await volumeFacts(folder, host, exec, signal);
  const fileSystem = facts?.fileSystem ?? null;
  const emit = teller(context);
  const addon = nativeAddon(context);
  const moved = await moveModel(folder, {
    ...{ home, id, paths, manifest, addon, fileSystem, signal, emit },
  }).catch((error: unknown) => {
    if (!signal.aborted) throw error;
    throw new FlashmoeError('ERR_INTERRUPTED', `interrupted; ${id} is whole where it was`, {
      hint: `\`${commandLine(['mv', args.model, args.folder])}\` goes on with what was copied`,
      resumable: true,
      cause: error,
    });
  });
  if (context.json) context.emit('moved', { id, ...moved });
  else context.print(sentence(id, moved));
  for (const path of context.json ? [] : moved.foreign) {
    context.print(`stays: ${moved.from}/${path}, not ours`);
  }
  return EXIT.done;
}

function sentence(id: string, { from, to, bytes, copiedBytes }: Moved): string {
  if (from === to) return `${id} is at ${to} already`;
  const how =
    copiedBytes === 0 ? 'same volume, nothing copied' : 'copied, read back, every hash right';
  return `${id} is at ${to}: ${formatBytesBoth(bytes)}, ${how}`;
}

const WORDS = {
  copy: 'copying to the other volume',
  link: 'giving the files their new names',
  verify: 'reading the copy back',
  remove: 'removing the source',
} as const;

function teller(context: CliContext): (event: MoveEvent) => void {
  let toldAt = context.host.monotonic();
  const note = (line: string): void => {
    context.note(`${clockWithSeconds(context.host.now())} ${line}`);
  };
  return (event) => {
    const { type, ...fields } = event;
    if (event.type === 'progress') {
      const now = context.host.monotonic();
      if (now - toldAt < PROGRESS_MS) return;
      toldAt = now;
    }
    if (context.json) context.emit(type, fields);
    else if (event.type === 'step') note(WORDS[event.step]);
    else note(`${percent(event.done / event.total)} of ${formatBytes(event.total)}, ${event.item}`);
  };
}
