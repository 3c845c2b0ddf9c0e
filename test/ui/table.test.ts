import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { modelTable } from '../../src/ui/models-view.js';
import { hangingLines, pairLines, shorten, tableLines, wrapText } from '../../src/ui/table.js';
import { someModels } from '../helpers/models.js';

describe('tables for terminals', () => {
  test('a wide flexible column gives way, the others keep their text', () => {
    const lines = tableLines(
      [
        { title: 'NAME', flexible: true },
        { title: 'SIZE', align: 'right' },
      ],
      [['a-very-long-name-indeed', '223 GB']],
      20,
    );
    expect(lines).toEqual(['NAME            SIZE', 'a-very-long…  223 GB']);
  });

  test('a sign that takes two cells of a terminal counts as two, and is never cut in half', () => {
    const columns = [{ title: 'NAME', flexible: true }, { title: 'SIZE' }];
    expect(
      tableLines(
        columns,
        [
          ['模型', '1'],
          ['ab', '2'],
        ],
        20,
      ),
    ).toEqual(['NAME  SIZE', '模型  1', 'ab    2']);
    expect(shorten('模型模型', 6)).toBe('模型…');
    expect(shorten('👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧', 4)).toBe('👩‍👩‍👧…');
  });

  test.each([60, 80, 120])('the model table stays within %d columns', (width) => {
    const lines = modelTable(someModels, width);
    expect(lines).toHaveLength(someModels.length + 1);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
    expect(lines[2]).toContain('132 GB');
  });

  test('shortened text is never longer than asked', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(20), (text, width) => {
        expect(shorten(text, width).length).toBeLessThanOrEqual(width);
      }),
    );
  });

  test('wrapped text keeps every word and the width', () => {
    const text = 'one two three four five six seven';
    const lines = wrapText(text, 9);
    expect(lines.join(' ')).toBe(text);
    expect(lines.every((line) => line.length <= 9)).toBe(true);
  });

  test('a value that is too long goes on below its beginning; an address is never broken', () => {
    const pairs = [
      ['short', 'one two three four five six seven'],
      ['at', 'https://example.org/a/very/long/path'],
    ] as const;
    expect(pairLines(pairs, { width: 32 })).toEqual([
      '  short  one two three four five',
      '         six seven',
      '  at',
      '    https://example.org/a/very/long/path',
    ]);
    expect(pairLines(pairs)[0]).toBe('  short  one two three four five six seven');
  });

  test('of a name and its words, the words go on below each other', () => {
    expect(hangingLines('/save FILE  this conversation, as JSON', 30)).toEqual([
      '/save FILE  this conversation,',
      '            as JSON',
    ]);
  });
});
