// The memory plan in a line, as `serve` tells it.

import { formatBinaryBytes } from '../base/format.js';
import type { ExpertMode, MemoryPlan } from '../models/memory-plan.js';

const MODES: Record<ExpertMode, string> = {
  resident: 'all experts stay in memory',
  cached: 'the experts used most stay in memory',
  streamed: 'experts are read for each token',
};

export function memoryPlanLine(plan: MemoryPlan): string {
  const part = (bytes: number): string => formatBinaryBytes(bytes);
  const line =
    `memory: ${part(plan.denseBytes)} weights of every token, ` +
    `${part(plan.cacheBytes)} for conversations of up to ${plan.contextLength} tokens, ` +
    `${part(plan.prefillBytes)} for prompts in passes of ${plan.prefillTokens} tokens, ` +
    `${part(plan.expertBytes)} for experts (${MODES[plan.mode]}), ` +
    `${part(plan.leftBytes)} left to the system`;
  if (plan.shortBytes === 0) return line;
  return `${line}; that is ${part(plan.shortBytes)} more than this machine should give: expect it to swap, or choose a shorter context`;
}
