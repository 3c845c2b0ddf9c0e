// Counters in Prometheus' text format (version 0.0.4). Totals only: rates are the reader's business.

import type { ExpertsInMemory } from '../engine/types.js';
import type { FinishEvent } from './collected-answer.js';

const HELP = {
  flashmoe_prompt_tokens_total: 'Tokens of prompts, cached ones included.',
  flashmoe_cached_prompt_tokens_total: 'Tokens of prompts taken from a saved state.',
  flashmoe_completion_tokens_total: 'Tokens generated, those of cancelled answers included.',
  flashmoe_reasoning_tokens_total: 'Of the tokens generated, those in the thinking part.',
  flashmoe_prefill_seconds_total: 'Seconds spent reading prompts.',
  flashmoe_decode_seconds_total:
    'Seconds spent generating, without the first token of each answer.',
  flashmoe_expert_bytes_read_total:
    'Bytes of experts read, whether or not the page cache had them.',
  flashmoe_expert_uses_total: 'Experts that layers asked for.',
  flashmoe_expert_hits_total: 'Of these, those that were in memory already.',
  flashmoe_expert_waits_total: 'Times computing stood still for an expert.',
  flashmoe_device_waits_total: 'Times the host waited for the GPU; none on the CPU.',
  flashmoe_device_wait_seconds_total: 'Seconds it waited.',
  flashmoe_grammar_masks_total: 'Token masks made for answers held by a grammar.',
  flashmoe_grammar_mask_seconds_total: 'Seconds spent making them, beside decoding.',
  flashmoe_grammar_compile_seconds_total: 'Seconds spent compiling grammars.',
} as const;
type Counter = keyof typeof HELP;

export class Metrics {
  readonly #counters = new Map<Counter, number>();
  readonly #requests = new Map<string, number>();
  readonly #generations = new Map<string, number>();
  readonly #routes = new Map<string, number>();

  request(path: string, status: number): void {
    increase(this.#requests, `path="${path}",status="${status}"`, 1);
  }

  /** Which of two tiers answers, and by what rule. */
  route(route: string, reason: string): void {
    increase(this.#routes, `route="${route}",reason="${reason}"`, 1);
  }

  /** A token, counted when it is made: those of answers that never end are work, too. */
  token(): void {
    increase(this.#counters, 'flashmoe_completion_tokens_total', 1);
  }

  /** An answer without an end of its own. */
  broken(reason: 'cancelled' | 'failed'): void {
    increase(this.#generations, `reason="${reason}"`, 1);
  }

  /** @param counted tokens of it that were counted already */
  generation({ reason, usage, timings }: FinishEvent, counted: number): void {
    increase(this.#generations, `reason="${reason}"`, 1);
    const values: Record<Counter, number> = {
      flashmoe_prompt_tokens_total: usage.promptTokens,
      flashmoe_cached_prompt_tokens_total: usage.cachedTokens,
      flashmoe_completion_tokens_total: Math.max(0, usage.completionTokens - counted),
      flashmoe_reasoning_tokens_total: usage.reasoningTokens,
      flashmoe_prefill_seconds_total: timings.prefillSeconds,
      flashmoe_decode_seconds_total: timings.decodeSeconds,
      flashmoe_expert_bytes_read_total: timings.expertBytesRead,
      flashmoe_expert_uses_total: timings.experts?.uses ?? 0,
      flashmoe_expert_hits_total: timings.experts?.hits ?? 0,
      flashmoe_expert_waits_total: timings.experts?.waits ?? 0,
      flashmoe_device_waits_total: timings.device?.waits ?? 0,
      flashmoe_device_wait_seconds_total: timings.device?.waitSeconds ?? 0,
      flashmoe_grammar_masks_total: timings.grammar?.masks ?? 0,
      flashmoe_grammar_mask_seconds_total: timings.grammar?.maskSeconds ?? 0,
      flashmoe_grammar_compile_seconds_total: timings.grammar?.compileSeconds ?? 0,
    };
    for (const [name, value] of Object.entries(values)) {
      increase(this.#counters, name as Counter, value);
    }
  }

  /** Totals since the start, for the page. */
  totals(): Record<string, number> {
    const entries = Object.keys(HELP).map((name) => [
      name.replace(/^flashmoe_|_total$/g, ''),
      this.#counters.get(name as Counter) ?? 0,
    ]);
    const answers = [...this.#generations.values()].reduce((sum, count) => sum + count, 0);
    return { ...(Object.fromEntries(entries) as Record<string, number>), answers };
  }

  /** Requests by tier, since the start. */
  routes(): { fast: number; local: number } {
    const sum = { fast: 0, local: 0 };
    for (const [labels, count] of this.#routes) {
      sum[labels.startsWith('route="fast"') ? 'fast' : 'local'] += count;
    }
    return sum;
  }

  /** @param now what is counted elsewhere */
  text(now: { queue: number; ready: boolean; experts: ExpertsInMemory | null }): string {
    const lines = (name: string, type: string, help: string, samples: string[]): string[] => [
      `# HELP ${name} ${help}`,
      `# TYPE ${name} ${type}`,
      ...samples,
    ];
    const labelled = (name: string, values: ReadonlyMap<string, number>): string[] =>
      [...values].map(([labels, value]) => `${name}{${labels}} ${value}`);
    const gauge = (name: string, help: string, value: number): string[] =>
      lines(name, 'gauge', help, [`${name} ${value}`]);
    return [
      ...gauge('flashmoe_ready', '1 when the model can answer.', now.ready ? 1 : 0),
      ...gauge('flashmoe_queue_length', 'Requests being answered or waiting.', now.queue),
      ...gauge('flashmoe_experts_held', 'Experts in memory now.', now.experts?.held ?? 0),
      ...gauge(
        'flashmoe_expert_pool_bytes',
        'Memory that experts stay in; 0 where they are mapped.',
        now.experts?.bytes ?? 0,
      ),
      ...lines(
        'flashmoe_requests_total',
        'counter',
        'HTTP requests.',
        labelled('flashmoe_requests_total', this.#requests),
      ),
      ...lines(
        'flashmoe_generations_total',
        'counter',
        'Answers by how they ended; cancelled: the client left, or the server had to stop.',
        labelled('flashmoe_generations_total', this.#generations),
      ),
      ...lines(
        'flashmoe_routed_requests_total',
        'counter',
        'Requests by the tier that answered and the rule that chose it.',
        labelled('flashmoe_routed_requests_total', this.#routes),
      ),
      ...Object.entries(HELP).flatMap(([name, help]) =>
        lines(name, 'counter', help, [`${name} ${this.#counters.get(name as Counter) ?? 0}`]),
      ),
      '',
    ].join('\n');
  }
}

function increase<K>(map: Map<K, number>, key: K, by: number): void {
  map.set(key, (map.get(key) ?? 0) + by);
}
