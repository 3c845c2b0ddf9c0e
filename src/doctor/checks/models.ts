import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytesBoth } from '../../base/format.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';
import type { ModelFiles } from '../context.js';

const id = 'models.files';

/** Every file a manifest names is there at its exact size. Hashes are `flashmoe verify`'s work. */
export const models: Check = {
  id,
  title: 'files of every model against the sizes in its manifest',
  timeoutMs: 30_000,
  async run(context, signal) {
    const { complete, unfinished, unreadable } = await context.models(signal);
    const findings: Finding[] = [
      ...(await Promise.all(complete.map(compare))),
      ...unfinished.map(({ id: name, state, why, next }): Finding => ({
        id: 'models.unfinished',
        severity: 'info',
        title: `${name} is ${state}${why === null ? '' : `: ${why}`}`,
        hint: next,
      })),
      ...unreadable.map(({ id: name, state, why, next }): Finding => ({
        id: 'models.unreadable',
        severity: 'fail',
        title: `${name}: ${why ?? state}`,
        hint: next,
      })),
    ];
    if (findings.length > 0) return findings;
    return [{ id, severity: 'info', title: 'no model is set up yet', hint: 'flashmoe setup' }];
  },
};

async function compare({ id: name, root, files }: ModelFiles): Promise<Finding> {
  const sizes = await Promise.all(
    files.map(({ path }) =>
      stat(join(root, path)).then(
        (found) => found.size,
        () => null,
      ),
    ),
  );
  const wrong = files.flatMap(({ path, size }, index) => {
    const found = sizes[index] ?? null;
    if (found === size) return [];
    return [
      found === null ? `${path} is missing` : `${path} has ${found} bytes instead of ${size}`,
    ];
  });
  if (wrong.length === 0) {
    const total = files.reduce((sum, { size }) => sum + size, 0);
    const title = `${name}: ${files.length} files, ${formatBytesBoth(total)}, all of their exact size`;
    return { id, severity: 'ok', title };
  }
  const more = wrong.length > 1 ? `, and ${wrong.length - 1} more` : '';
  return {
    id,
    severity: 'fail',
    title: `${name}: ${wrong[0] ?? ''}${more}`,
    why: 'a model with a missing or short file must not answer: it would talk nonsense',
    hint: `flashmoe setup ${name}`,
  };
}
