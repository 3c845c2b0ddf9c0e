import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StopSequences } from '../../src/engine/stop-sequences.js';

function run(stops: string[], pieces: string[]): { text: string; stopped: string | null } {
  const sequences = new StopSequences(stops);
  let text = '';
  for (const piece of pieces) {
    const result = sequences.push(piece);
    text += result.text;
    if (result.stopped !== null) return { text, stopped: result.stopped };
  }
  return { text: text + sequences.end(), stopped: null };
}

describe('stop sequences', () => {
  it.each([
    [['STOP'], ['a S', 'TO', 'P b'], 'a ', 'STOP'],
    [['STOP'], ['a STO', 'RE'], 'a STORE', null],
    [['\n\n', 'x'], ['one\n', '\ntwo x'], 'one', '\n\n'],
    [['abab', 'bc'], ['aba', 'bc'], '', 'abab'],
    [['aab'], ['aaa', 'ab!'], 'aa', 'aab'],
    [[], ['as ', 'it is'], 'as it is', null],
  ])('%j in %j', (stops, pieces, text, stopped) => {
    expect(run(stops, pieces)).toEqual({ text, stopped });
  });

  it('pass on at once what can be no beginning', () => {
    const sequences = new StopSequences(['</end>']);
    expect(sequences.push('hello <')).toEqual({ text: 'hello ', stopped: null });
    expect(sequences.push('b>')).toEqual({ text: '<b>', stopped: null });
  });

  it('end the text at the same place however it is cut into pieces', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', '<'), minLength: 1, maxLength: 4 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '<'), maxLength: 40 });
    fc.assert(
      fc.property(text, fc.array(word, { maxLength: 3 }), (whole, stops) => {
        // One character at a time, the stop that is complete first wins; ends are what is compared.
        const cut = run(stops, [...whole]);
        expect(whole.startsWith(cut.text)).toBe(true);
        for (const stop of stops) expect(cut.text.includes(stop)).toBe(false);
        if (cut.stopped !== null) expect(whole.startsWith(cut.text + cut.stopped)).toBe(true);
        else expect(cut.text).toBe(whole);
      }),
    );
  });
});
