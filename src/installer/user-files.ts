// Files of the user's own that go into a model's folder: each is named by an option of the same name.

import { hashFile } from '../base/hash-file.js';
import { asFlashmoeError } from '../base/errors.js';
import { stat } from 'node:fs/promises';
import { checkTemplateFile } from '../engine/template-file.js';
import { CALIBRATION_FILE } from '../repack/calibration.js';
import { longName } from '../settings/option.js';
import { setupOptions } from '../settings/setup-options.js';
import type { StoredPlan, UserFile } from '../store/stored-plan.js';
import type { SetupRequest } from './setup-context.js';

interface UserFileKind {
  option: 'calibration' | 'chatTemplate';
  /** Its name in the model's folder. */
  path: string;
  /** Throws when it is not what it should be; absent where the plan reads it anyway. */
  check?: (file: string) => Promise<void>;
}

const KINDS: readonly UserFileKind[] = [
  { option: 'calibration', path: CALIBRATION_FILE },
  { option: 'chatTemplate', path: 'chat_template.jinja', check: checkTemplateFile },
];

/** What another machine shares has them already, or none. */
export const USER_FILE_OPTIONS = KINDS.map(({ option }) => option);

/** Those that a request names, by their names in the model's folder. */
export function userPaths(request: SetupRequest): Map<string, string> {
  return new Map(
    KINDS.flatMap(({ option, path }): [string, string][] => {
      const from = request[option] ?? null;
      return from === null ? [] : [[path, from]];
    }),
  );
}

/** Read, checked and hashed, before anything is fetched. A calibration is a part of the pack plan and not among them. */
export async function readUserFiles(request: SetupRequest): Promise<UserFile[]> {
  const found: UserFile[] = [];
  for (const { option, path, check } of KINDS) {
    const from = request[option] ?? null;
    if (from === null || check === undefined) continue;
    try {
      await check(from);
      const { size } = await stat(from);
      const sha256 = await hashFile(from);
      found.push({ path, size, sha256, option: `--${longName(setupOptions[option])}` });
    } catch (error) {
      throw asFlashmoeError(error);
    }
  }
  return found;
}

/** The plan with these files in place of those of the same names; others that it began with stay. */
export function withUserFiles(stored: StoredPlan, named: readonly UserFile[]): StoredPlan {
  if (named.length === 0) return stored;
  const others = (stored.userFiles ?? []).filter(
    ({ path }) => !named.some((file) => file.path === path),
  );
  return { ...stored, userFiles: [...others, ...named] };
}
