// Counters in Prometheus' text format (version 0.0.4). Totals only: rates are the reader's business.

import type { FinishEvent } from './collected-answer.js';

const HELP = {
  flashmoe_prompt_tokens_total: 'Tokens of prompts, cached ones included.',
  flashmoe_cached_prompt_tokens_total: 'Tokens of prompts taken from a saved state.',
  flashmoe_completion_tokens_total: 'Tokens generated.',
  flashmoe_reasoning_tokens_total: 'Of the tokens generated, those in the thinking part.',
  flashmoe_prefill_seconds_total: 'Seconds spent reading prompts.',
  flashmoe_decode_seconds_total:
    'Seconds spent generating, without the first token of each answer.',
  flashmoe_expert_bytes_read_total:
    'Bytes of experts read, whether or not the page cache had them.',
  flashmoe_grammar_masks_total: 'Token masks made for answers held by a grammar.',
  flashmoe_grammar_mask_seconds_total: 'Seconds spent making them, beside decoding.',
  flashmoe_grammar_compile_seconds_total: 'Seconds spent compiling grammars.',
} as const;
type Counter = keyof typeof HELP;

export class Metrics {
  readonly #counters = new Map<Counter, number>();
  readonly #requests = new Map<string, number>();
  readonly #generations = new Map<string, number>();

  request(path: string, status: number): void {
    increase(this.#requests, `path="${path}",status="${status}"`, 1);
  }

  generation({ reason, usage, timings }: FinishEvent): void {
    increase(this.#generations, `reason="${reason}"`, 1);
    const values: Record<Counter, number> = {
      flashmoe_prompt_tokens_total: usage.promptTokens,
      flashmoe_cached_prompt_tokens_total: usage.cachedTokens,
      flashmoe_completion_tokens_total: usage.completionTokens,
      flashmoe_reasoning_tokens_total: usage.reasoningTokens,
      flashmoe_prefill_seconds_total: timings.prefillSeconds,
      flashmoe_decode_seconds_total: timings.decodeSeconds,
      flashmoe_expert_bytes_read_total: timings.expertBytesRead,
      flashmoe_grammar_masks_total: timings.grammar?.masks ?? 0,
      flashmoe_grammar_mask_seconds_total: timings.grammar?.maskSeconds ?? 0,
      flashmoe_grammar_compile_seconds_total: timings.grammar?.compileSeconds ?? 0,
    };
    for (const [name, value] of Object.entries(values)) {
      increase(this.#counters, name as Counter, value);
    }
  }

  /** @param now what is counted elsewhere */
  text(now: { queue: number; ready: boolean }): string {
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
      ...lines(
        'flashmoe_requests_total',
        'counter',
        'HTTP requests.',
        labelled('flashmoe_requests_total', this.#requests),
      ),
      ...lines(
        'flashmoe_generations_total',
        'counter',
        'Answers that came to an end.',
        labelled('flashmoe_generations_total', this.#generations),
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
