import { expect, test } from 'vitest';
import { markdownLines } from '../../src/ui/markdown.js';
import { plainStyle } from '../../src/ui/style.js';

const plain = plainStyle({ color: false, unicode: true });
const lines = (text: string, width = 40): string[] => markdownLines(text, width, plain);

test('blocks of Markdown are lines of a terminal', () => {
  expect(
    lines(
      '# Title\n\nSome *soft* and **loud** `code`.\n\n- one\n- two\n  - deep\n\n3. three\n4. four',
    ),
  ).toEqual([
    'Title',
    '',
    'Some soft and loud code.',
    '',
    '- one',
    '- two',
    '  - deep',
    '',
    '3. three',
    '4. four',
  ]);
});

test('code keeps its lines, also while its fence is still open', () => {
  expect(lines('```ts\nconst a = 1;\n  const b = 2;')).toEqual([
    '  const a = 1;',
    '    const b = 2;',
  ]);
});

test('text is wrapped at words by the width that is seen', () => {
  expect(lines('你好世界 你好世界 ok', 10)).toEqual(['你好世界', '你好世界', 'ok']);
  expect(lines('a very-long-word-that-stays', 8)).toEqual(['a', 'very-long-word-that-stays']);
});

test('a table has columns, and a link shows where it leads', () => {
  expect(lines('| a | b |\n|---|---|\n| long | x |')).toEqual(['a     b', '----  -', 'long  x']);
  expect(lines('[click](http://example.com/x) <b>bold</b>', 80)).toEqual([
    'click (http://example.com/x) <b>bold</b>',
  ]);
});

test('nothing of it is obeyed by a terminal', () => {
  expect(lines('\u001B[2Jcleared `\u001B]0;title\u0007`').join('')).not.toMatch(/[\u001B\u0007]/);
});
