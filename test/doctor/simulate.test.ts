import { expect, test } from 'vitest';
import { parseMachine, simulate } from '../../src/doctor/simulate.js';
import { redact } from '../../src/doctor/redact.js';

test('a chip with its memory is a machine, with the reads others measured on it', () => {
  expect(parseMachine('m4-pro-48')).toEqual({
    chip: 'M4 Pro',
    memoryBytes: 48 * 2 ** 30,
    freeBytes: null,
    readBytesPerSecond: 6.5e9,
    readSource: expect.stringContaining('flash-moe') as string,
  });
  expect(parseMachine('m3-24').readBytesPerSecond).toBeNull();
});

test('figures in gigabytes are a machine, in any order', () => {
  const machine = { chip: null, memoryBytes: 16 * 2 ** 30, freeBytes: 512e9 };
  expect(parseMachine('disk=512,ram=16')).toMatchObject(machine);
  expect(parseMachine('m4-pro-48,read=3').readBytesPerSecond).toBe(3e9);
});

test.each(['', 'm4', 'x', 'ram=0', 'ram=-1', 'ram=16,colour=red', 'disk=512', 'ram=many'])(
  '`%s` is refused with an example',
  (words) => {
    expect(() => parseMachine(words)).toThrow(
      expect.objectContaining({
        code: 'ERR_USAGE',
        hint: expect.stringContaining('m4-pro-48') as string,
      }) as Error,
    );
  },
);

test('48 GB run the largest Qwen from the SSD with a rate; too little disk is a no', () => {
  const verdictOf = (words: string): string | undefined =>
    simulate(parseMachine(words)).find(({ model }) => model === 'qwen3.5-397b')?.quants['4bit']
      .level;
  const [first] = simulate(parseMachine('m4-pro-48'));
  expect(first?.quants['4bit'].text).toMatch(/tokens\/s/);
  expect(first?.beside.map(({ machine, memoryGb }) => `${machine} ${memoryGb}`)).toContain(
    'M4 Pro 48',
  );
  expect(verdictOf('m4-pro-48')).toBe('good');
  expect(verdictOf('ram=48,disk=100')).toBe('no');
  expect(verdictOf('ram=8')).toBe('no');
});

const identity = { homeDirectory: '/Users/ann', userName: 'ann', hostName: 'anns-mac.local' };

test.each([
  ['/Users/ann/.flashmoe/models', '~/.flashmoe/models'],
  ['/Users/annette/x', '/Users/annette/x'],
  ['port held by node of ann', 'port held by node of <user>'],
  ['a planned annex', 'a planned annex'],
  ['Anns-Mac.local and anns-mac', '<host> and <host>'],
  ['HF_TOKEN=hf_abcdefghij', 'HF_TOKEN=<secret>'],
  ['token hf_abcdefghij was refused', 'token <token> was refused'],
  ['authorization: Bearer abc.def-123', 'authorization: Bearer <token>'],
  ['http://me:word@proxy:3128', 'http://<credentials>@proxy:3128'],
  ['"api_key": "0123456789"', '"api_key": "<secret>"'],
  ['Serial Number: C02XK0AAJG5H', 'Serial Number: <serial>'],
])('`%s` is shown as `%s`', (text, shown) => {
  expect(redact(text, identity)).toBe(shown);
});
