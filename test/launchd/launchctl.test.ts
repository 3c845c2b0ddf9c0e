import { expect, test } from 'vitest';
import { parsePrint } from '../../src/launchd/launchctl.js';

test.each([
  ['\tstate = running\n\n\tpid = 812\n\tlast exit code = (never exited)\n', 812, 'running', null],
  ['\tstate = not running\n\tlast exit code = 78: EX_CONFIG\n', null, 'not running', 78],
  [
    '\tstate = spawn scheduled\n\tlast exit code = 1\n\t\tstate = active\n',
    null,
    'spawn scheduled',
    1,
  ],
  ['a format nobody has seen', null, null, null],
])('%j is read for pid, state and last exit code only', (text, pid, state, lastExitCode) => {
  expect(parsePrint(`gui/501/dev.flashmoe.server = {\n${text}}\n`)).toEqual({
    pid,
    state,
    lastExitCode,
  });
});
