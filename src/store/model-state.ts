// The one answer to what a model is at this moment, behind wizard, status, report, doctor and serve. Pure: facts in, a state,
// its reason and the command that leads on out. docs/states.md is made of this file.

import { CHECK_VERSION, type CheckReport } from './receipt.js';

export const MODEL_STATES = [
  'absent',
  'away',
  'planned',
  'fetching',
  'paused',
  'packed',
  'unjudged',
  'failed',
  'ready',
] as const;
export type ModelStateName = (typeof MODEL_STATES)[number];

export interface ModelState {
  state: ModelStateName;
  /** A line's worth; null where the state says it all. */
  why: string | null;
  /** Arguments of `flashmoe` that lead on from here. */
  next: string[];
}

export interface StateFacts {
  /** As commands take it: the folder's name, or what was asked for where there is no folder. */
  id: string;
  /** Somebody is at work on it, and what they wait for. */
  owner: { waiting: { code: string; reason: string } | null } | null;
  /** Of a setup without a manifest; null when not even its plan was written. */
  plan: { doneBytes: number; downloadBytes: number } | null;
  /** Arguments that an unfinished one was begun by, where that was no setup. */
  begunAs?: string[] | null;
  /** How the last run ended: a code, `finished`, or null for one that was killed or is under way; undefined: there was none. */
  outcome?: string | null;
  manifest: { check?: CheckReport | undefined; receipt: object | null } | null;
  /** The mount point or folder that is not there, of one that was moved; absent or null when it is. */
  away?: string | null;
  /** Why the folder can't be understood; null when it can. */
  problem: string | null;
}

/** What each state means, for people, and whether a server answers with the model. */
export const STATE_MEANINGS: Readonly<Record<ModelStateName, { is: string; serves: string }>> = {
  absent: { is: 'nothing of it is here', serves: 'no' },
  away: { is: 'moved to a disk that is not there now: attach it', serves: 'no' },
  planned: { is: 'its plan is written, no byte of weights is here', serves: 'no' },
  fetching: { is: 'a process is at work on it', serves: 'no' },
  paused: { is: 'begun and not finished: why it holds still is said', serves: 'no' },
  packed: {
    is: 'every byte is here, the last files or the first answer are missing',
    serves: 'once its last files are there',
  },
  unjudged: {
    is: 'whole, and nobody has judged its answers by the checks of this version',
    serves: 'yes',
  },
  failed: {
    is: 'its answers were wrong, or its records cannot be read: why is said',
    serves: 'yes',
  },
  ready: { is: 'whole, and its answers were judged right', serves: 'yes' },
};

export function modelState(facts: StateFacts): ModelState {
  const { id, owner, problem, manifest, plan } = facts;
  if (facts.away) {
    const why = `${facts.away}, where it was moved to, is not there: attach the disk`;
    return { state: 'away', why, next: ['verify', id] };
  }
  if (owner !== null) return atWork(id, owner.waiting);
  if (problem !== null) {
    return { state: 'failed', why: problem, next: ['verify', id, '--repair'] };
  }
  if (manifest !== null) return whole(id, manifest);
  if (plan === null) return { state: 'absent', why: null, next: ['setup', id] };
  const next = facts.begunAs ?? ['setup', id];
  const { doneBytes, downloadBytes } = plan;
  if (doneBytes >= downloadBytes) {
    return { state: 'packed', why: 'its last files are not written', next };
  }
  if (facts.outcome === undefined && doneBytes === 0) return { state: 'planned', why: null, next };
  return { state: 'paused', why: endWords(facts.outcome ?? null), next };
}

function atWork(id: string, waiting: { code: string; reason: string } | null): ModelState {
  if (waiting === null) return { state: 'fetching', why: null, next: ['attach', id] };
  const command = waiting.code === 'paused' ? 'resume' : 'attach';
  return { state: 'paused', why: waiting.reason, next: [command, id] };
}

/** Whether nobody has judged it by the checks of this version, whatever came of others. */
export function isUnjudged({ check }: { check?: CheckReport | undefined }): boolean {
  return check?.version !== CHECK_VERSION;
}

function whole(id: string, { check, receipt }: NonNullable<StateFacts['manifest']>): ModelState {
  const next = ['verify', id];
  if (check === undefined || isUnjudged({ check })) {
    return receipt === null
      ? { state: 'packed', why: 'it has not answered yet', next: ['setup', id] }
      : { state: 'unjudged', why: 'nobody has judged its answers', next };
  }
  const [reason = null] = check.reasons;
  switch (check.verdict) {
    case 'passed':
      return { state: 'ready', why: null, next: ['run', '--model', id, 'Who are you?'] };
    case 'unjudged':
      return { state: 'unjudged', why: check.notJudged.join('; '), next };
    case 'failed':
      return { state: 'failed', why: reason, next };
  }
}

function endWords(outcome: string | null): string {
  if (outcome === null) return 'its last run ended without a word';
  return outcome === 'ERR_INTERRUPTED'
    ? 'it was interrupted'
    : `its last run ended with ${outcome}`;
}
