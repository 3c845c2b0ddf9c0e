import { describe, expect, test } from 'vitest';
import { FlashmoeError } from '../../src/base/errors.js';
import { useColor, useUnicode } from '../../src/cli/color.js';
import { decodeRate } from '../../src/cli/decode-rate.js';
import { chooseOutputMode, type OutputModeFacts } from '../../src/cli/output-mode.js';
import { describeFailure, failureLine, failureText } from '../../src/cli/failure.js';

describe('colour', () => {
  test.each([
    ['a terminal gets it', 'auto', {}, true, true],
    ['a pipe does not', 'auto', {}, false, false],
    ['NO_COLOR takes it from a terminal', 'auto', { NO_COLOR: '1' }, true, false],
    ['an empty NO_COLOR says nothing', 'auto', { NO_COLOR: '' }, true, true],
    ['FORCE_COLOR gives it to a pipe', 'auto', { FORCE_COLOR: '1' }, false, true],
    [
      'FORCE_COLOR is more explicit than NO_COLOR',
      'auto',
      { FORCE_COLOR: '1', NO_COLOR: '1' },
      false,
      true,
    ],
    ['FORCE_COLOR=0 takes it away', 'auto', { FORCE_COLOR: '0' }, true, false],
    ['--color always wins over NO_COLOR', 'always', { NO_COLOR: '1' }, false, true],
    ['--color never wins over FORCE_COLOR', 'never', { FORCE_COLOR: '1' }, true, false],
    ['a dumb terminal does not get it', 'auto', { TERM: 'dumb' }, true, false],
  ] as const)('%s', (_, choice, env, isTTY, expected) => {
    expect(useColor(choice, env, { isTTY })).toBe(expected);
  });

  test.each([
    [{ LANG: 'de_CH.UTF-8' }, 'linux', true],
    [{ LANG: 'de_CH.UTF-8', LC_ALL: 'C' }, 'linux', false],
    [{}, 'linux', false],
    [{}, 'darwin', true],
    [{ LANG: 'en_US.utf8', TERM: 'linux' }, 'linux', false],
  ] as const)('glyphs beyond ASCII follow the locale: %o on %s', (env, platform, expected) => {
    expect(useUnicode(env, platform)).toBe(expected);
  });
});

describe('the output mode of a run', () => {
  const terminal: OutputModeFacts = { json: false, stdinTTY: true, stdoutTTY: true, env: {} };
  test.each([
    ['a terminal on both sides gets the wizard', {}, 'ink'],
    ['--json wins over the terminal', { json: true }, 'json'],
    ['piped input gets plain lines', { stdinTTY: false }, 'plain'],
    ['piped output gets plain lines', { stdoutTTY: false }, 'plain'],
    ['CI gets plain lines', { env: { CI: 'true' } }, 'plain'],
    ['CI=false is not CI', { env: { CI: 'false' } }, 'ink'],
    ['a dumb terminal gets plain lines', { env: { TERM: 'dumb' } }, 'plain'],
  ] as const)('%s', (_, change, expected) => {
    expect(chooseOutputMode({ ...terminal, ...change })).toBe(expected);
  });
});

describe('the speed of an answer', () => {
  const usage = { promptTokens: 9, cachedTokens: 0, reasoningTokens: 0 };
  const timings = { prefillSeconds: 3, decodeSeconds: 2, expertBytesRead: 0 };
  test.each([
    [11, 2, 5],
    [1, 0, 0],
    [0, 0, 0],
  ])('of %d tokens in %d s of decoding is %d', (completionTokens, decodeSeconds, rate) => {
    const timed = { ...timings, decodeSeconds };
    expect(decodeRate({ ...usage, completionTokens }, timed)).toBe(rate);
  });
});

describe('failures', () => {
  const calm = { interrupted: null, resumeCommand: null };

  test.each([
    ['ERR_USAGE', 64],
    ['ERR_OFFLINE', 69],
    ['ERR_PORT_IN_USE', 69],
    ['ERR_DISK_FULL', 73],
    ['ERR_NETWORK', 75],
    ['ERR_AUTH', 77],
    ['ERR_HASH', 1],
    ['ERR_INTERRUPTED', 130],
  ] as const)('%s exits with %d', (code, status) => {
    expect(describeFailure(new FlashmoeError(code, 'x'), calm).status).toBe(status);
  });

  test('the text is the message, a blank line and the hint', () => {
    const error = new FlashmoeError('ERR_AUTH', 'the token is stale', { hint: 'hf auth login' });
    expect(failureText(describeFailure(error, calm))).toBe(
      'the token is stale\n\nhint: hf auth login\n',
    );
  });

  test('what can be resumed names the command that resumes it', () => {
    const error = new FlashmoeError('ERR_NETWORK', 'connection lost; the partial file was kept');
    const failure = describeFailure(error, { ...calm, resumeCommand: 'flashmoe setup tiny' });
    expect(failure.hint).toBe('run `flashmoe setup tiny` to go on from there');
  });

  test('an abort under any name is the signal that caused it', () => {
    const facts = { interrupted: 143, resumeCommand: 'flashmoe setup tiny' };
    const aborted = Object.assign(new Error('This operation was aborted'), { name: 'AbortError' });
    for (const thrown of [aborted, new FlashmoeError('ERR_INTERRUPTED', 'terminated')]) {
      expect(describeFailure(thrown, facts)).toMatchObject({
        code: 'ERR_INTERRUPTED',
        status: 143,
        resumable: true,
        hint: 'run `flashmoe setup tiny` to go on from there',
      });
    }
  });

  test('an error of another kind after a signal keeps its own code', () => {
    const facts = { interrupted: 130, resumeCommand: null };
    expect(describeFailure(new FlashmoeError('ERR_HASH', 'x'), facts).status).toBe(1);
  });

  test('a defect says that it is one', () => {
    const failure = describeFailure(new TypeError('x is not a function'), calm);
    expect(failure).toMatchObject({ code: 'ERR_INTERNAL', status: 1 });
    expect(failure.hint).toContain('defect');
  });

  test('the JSON line has the code, the hint and the exit status', () => {
    const failure = describeFailure(new FlashmoeError('ERR_DISK_FULL', 'full'), calm);
    expect(JSON.parse(failureLine(failure, 0))).toEqual({
      v: 1,
      t: '1970-01-01T00:00:00.000Z',
      event: 'failed',
      code: 'ERR_DISK_FULL',
      message: 'full',
      resumable: false,
      exitStatus: 73,
    });
  });
});
