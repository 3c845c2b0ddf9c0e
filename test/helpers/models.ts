import type { ModelChoice } from '../../src/application/setup-runner.js';

const GB = 1_000_000_000;

function choice(
  id: string,
  download: number,
  twoBit: number,
  level: ModelChoice['verdict']['level'],
  text: string,
): ModelChoice {
  return {
    id,
    title: id,
    repo: `mlx-community/${id}-4bit`,
    downloadBytes: download * GB,
    finalBytes: [
      { quant: '4bit', bytes: download * GB },
      { quant: '2bit', bytes: twoBit * GB },
    ],
    goodFor: 'chat and code',
    license: 'Apache-2.0',
    contextLength: 262_144,
    memoryBytes: 9 * GB,
    speed: { low: 3.1, high: 5.9, source: 'computed from the 6.2 GB/s of this disk' },
    isBundled: id === 'tiny',
    verdict: { level, text },
    installed: id === 'tiny' ? ['4bit'] : [],
  };
}

/** A catalogue as a 48 GB machine with half a terabyte free might see it. */
export const someModels: ModelChoice[] = [
  choice('qwen3.5-35b-a3b', 19.5, 11.8, 'small', 'fits in memory: a resident engine is faster'),
  choice('qwen3-235b-a22b-instruct-2507', 132.3, 72.1, 'good', 'fits the disk, streams from SSD'),
  choice('qwen3.5-397b-a17b', 223, 128, 'good', 'fits the disk, streams from SSD'),
  choice('deepseek-v3-0324', 377.6, 207.4, 'slow', 'fits the disk, 11.5 GB read per token'),
  choice('kimi-k2-instruct', 577.6, 318.2, 'no', '77.6 GB of free space missing'),
  choice('tiny', 0.0024, 0.0017, 'good', 'bundled, for trying it out'),
];
