// Asks an engine every prompt of some skills, greedily, and counts right answers.

import type { Engine } from '../engine/types.js';
import type { EvalRecord } from './records.js';
import { isRight, type Answer } from './score.js';

export interface SkillScore {
  skill: string;
  right: number;
  asked: number;
}

export interface WrongAnswer {
  id: string;
  expect: unknown;
  got: Answer;
}

export interface EvalReport {
  skills: SkillScore[];
  wrong: WrongAnswer[];
  promptTokens: number;
  completionTokens: number;
}

/** Longer than any right answer of the bundled prompts; a model that talks on is wrong. */
const MAX_TOKENS = 176;

export interface EvalTask {
  engine: Engine;
  skills: ReadonlyMap<string, readonly EvalRecord[]>;
  onAnswer: (skill: string, done: number, total: number) => void;
  signal: AbortSignal;
}

export async function evaluate({
  engine,
  skills,
  onAnswer,
  signal,
}: EvalTask): Promise<EvalReport> {
  const report: EvalReport = { skills: [], wrong: [], promptTokens: 0, completionTokens: 0 };
  for (const [skill, records] of skills) {
    let right = 0;
    for (const [index, record] of records.entries()) {
      const got = await ask(engine, record, report, signal);
      if (isRight(record.expect, got)) right++;
      else report.wrong.push({ id: record.id, expect: record.expect, got });
      onAnswer(skill, index + 1, records.length);
    }
    report.skills.push({ skill, right, asked: records.length });
  }
  return report;
}

async function ask(
  engine: Engine,
  { messages, tools }: EvalRecord,
  report: EvalReport,
  signal: AbortSignal,
): Promise<Answer> {
  const answer: Answer = { text: '', calls: [] };
  const request = {
    ...{ messages, tools, thinking: null, maxTokens: MAX_TOKENS, stop: [] },
    sampling: { temperature: 0 },
  };
  for await (const event of engine.chat(request, signal)) {
    if (event.type === 'text' && event.channel === 'content') answer.text += event.text;
    if (event.type === 'tool-call') answer.calls.push({ name: event.name, json: '' });
    if (event.type === 'tool-arguments') {
      const call = answer.calls[event.index];
      if (call !== undefined) call.json += event.json;
    }
    if (event.type === 'finish') {
      report.promptTokens += event.usage.promptTokens;
      report.completionTokens += event.usage.completionTokens;
    }
  }
  return answer;
}
