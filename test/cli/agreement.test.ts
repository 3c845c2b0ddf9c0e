import { describe, expect, test } from 'vitest';
import { exitStatus, type FlashmoeError } from '../../src/base/errors.js';
import { requireAgreement } from '../../src/application/agreement.js';
import { commandLine } from '../../src/application/command-line.js';
import { withNothingSaid } from '../../src/settings/option.js';
import {
  setupArguments,
  setupOptions,
  type SetupCommand,
} from '../../src/settings/setup-options.js';
import type { PlanSummary } from '../../src/jobs/events.js';

const words: SetupCommand = {
  ...withNothingSaid(setupOptions, { quant: '2bit', service: false }),
  model: 'qwen3.5-397b',
  json: true,
  home: '/Volumes/Big Disk/flashmoe',
};
const plan = (downloadBytes: number, doneBytes = 0) =>
  ({ model: 'qwen3.5-397b', downloadBytes, doneBytes }) as PlanSummary;

describe('agreeing off a terminal', () => {
  test('up to 1 GB left to fetch nothing needs to be agreed to', () => {
    requireAgreement(plan(1_000_000_000), words);
    requireAgreement(plan(223_000_000_000, 222_500_000_000), words);
  });

  test('above it the error exits 64 with the exact command that agrees', () => {
    let error: FlashmoeError | null = null;
    try {
      requireAgreement(plan(223_860_768_352), words);
    } catch (thrown) {
      error = thrown as FlashmoeError;
    }
    expect(error?.code).toBe('ERR_CONFIRM_NEEDED');
    expect(exitStatus('ERR_CONFIRM_NEEDED')).toBe(64);
    expect(error?.message).toBe(
      'qwen3.5-397b is 224 GB (208 GiB) to download; nothing was written',
    );
    expect(error?.hint).toBe(
      "`flashmoe setup qwen3.5-397b --quant 2bit --no-service --yes --json --home '/Volumes/Big Disk/flashmoe'` agrees to that",
    );
  });

  test('a printed command names the repository or the model, never both', () => {
    const repo = { ...words, model: 'acme--tiny', repo: 'acme/tiny', home: null };
    expect(commandLine(setupArguments(repo))).toBe(
      'flashmoe setup --repo acme/tiny --quant 2bit --no-service --json',
    );
  });

  test('a printed command and a night’s job keep the source where that was asked for', () => {
    expect(setupArguments({ ...words, keepSource: true })).toContain('--keep-source');
    expect(setupArguments(words)).not.toContain('--keep-source');
  });

  test('what a shell would expand is quoted', () => {
    expect(commandLine(['run', "it's $HOME", '--model=x'])).toBe(
      `flashmoe run 'it'\\''s $HOME' --model=x`,
    );
  });
});
