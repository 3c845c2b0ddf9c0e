// flashmoe eval [MODEL]: known questions, counted answers, skill by skill.

import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { packageRoot } from '../../base/package-root.js';
import { EXIT, FlashmoeError } from '../../base/errors.js';
import { parseRecords, type EvalRecord } from '../../eval/records.js';
import { evaluate, type EvalReport } from '../../eval/run.js';
import type { EvalOptions } from '../../settings/measuring-options.js';
import type { CliContext } from '../context.js';
import { chooseWidth, openEngineOf } from '../../application/installed.js';
import type { Ready } from '../../application/ready-models.js';

export interface EvalArgs extends EvalOptions {
  model: string | null;
}

/** The questions that the bundled model was trained to answer, none of which it has seen. */
const BUNDLED_PROMPTS = join(packageRoot, 'models', 'tiny-eval');
const SUFFIX = '.jsonl';

/** Exit status 0 whatever the score: it is a measurement, and the judge is who reads it. */
export async function evaluateModel(context: CliContext, args: EvalArgs): Promise<number> {
  const skills = await readSkills(args);
  const model = await chooseWidth(context, args.model, args.quant);
  const engine = await openEngineOf(context, model, context.signal, {
    typed: { backend: args.backend },
    expertsPerToken: args.experts,
  });
  const started = context.host.monotonic();
  try {
    const report = await evaluate({
      engine,
      skills,
      signal: context.signal,
      onAnswer: (skill, done, total) => progress(context, skill, done, total),
    });
    const seconds = (context.host.monotonic() - started) / 1000;
    tell(context, model, engine.model.expertsPerToken, report, seconds);
    return EXIT.done;
  } finally {
    await engine.close();
  }
}

async function readSkills({
  skills,
  prompts,
  limit,
}: EvalArgs): Promise<Map<string, EvalRecord[]>> {
  const folder = prompts ?? BUNDLED_PROMPTS;
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new FlashmoeError('ERR_USAGE', `${folder} cannot be read`, { cause });
  });
  const known = names.filter((name) => name.endsWith(SUFFIX)).map((name) => basename(name, SUFFIX));
  const unknown = skills?.find((skill) => !known.includes(skill));
  if (unknown !== undefined || known.length === 0) {
    throw new FlashmoeError(
      'ERR_USAGE',
      `there are no prompts for ${JSON.stringify(unknown ?? folder)}; known are ${known.join(', ')}`,
    );
  }
  const chosen = (skills ?? known).sort();
  const entries = chosen.map(async (skill): Promise<[string, EvalRecord[]]> => {
    const file = join(folder, skill + SUFFIX);
    const records = parseRecords(file, await readFile(file, 'utf8'));
    return [skill, limit === null ? records : records.slice(0, limit)];
  });
  return new Map(await Promise.all(entries));
}

function progress(context: CliContext, skill: string, done: number, total: number): void {
  if (context.json) {
    if (done === total) context.emit('progress', { step: 'eval', item: skill, done, total });
  } else if (context.stderr.isTTY) {
    context.stderr.write(`\r\u001B[K${done === total ? '' : `${skill}: ${done} of ${total}`}`);
  }
}

function tell(
  context: CliContext,
  { id, manifest }: Ready,
  expertsPerToken: number,
  report: EvalReport,
  seconds: number,
): void {
  if (context.json) {
    context.emit('evaluated', {
      model: id,
      quant: manifest.quant,
      expertsPerToken,
      seconds,
      ...report,
    });
    return;
  }
  context.print(`${id}, ${manifest.quant}, ${expertsPerToken} experts per token`);
  for (const { skill, right, asked } of report.skills) {
    const share = ((100 * right) / Math.max(1, asked)).toFixed(1).padStart(6);
    context.print(`  ${skill.padEnd(14)}${share} %  ${right} of ${asked}`);
  }
  context.note(`${report.completionTokens} tokens in ${seconds.toFixed(1)} s`);
}
