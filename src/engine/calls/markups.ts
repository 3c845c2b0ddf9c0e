// The markups that are read, with what the grammar needs to enforce them. Facts: the templates of the models.

import type { Markup } from './markup-call-reader.js';

/** A markup as it is written. */
export interface MarkupForm {
  markup: Markup;
  section: { open: string; close: string } | null;
  open: string;
  close: string;
  /** From the call's opening tag to its first argument, one argument's opening and its end, and the rest of the call. */
  written: {
    begin: (name: string) => string;
    before: (key: string, isText: boolean) => string;
    after: string;
    end: string;
    /** What would end a value. */
    ends: readonly string[];
    /** `before` tells text from JSON. */
    marksText?: boolean;
    /** Between the section's tags and its calls. */
    line: string;
  };
}

const GLM = { open: '<tool_call>', close: '</tool_call>' };

/** `<arg_key>` and `<arg_value>`. @param spaced each on a line of its own, as the older templates write them */
export function argKeys(spaced: boolean): MarkupForm {
  const line = spaced ? '\n' : '';
  return {
    ...GLM,
    section: null,
    markup: {
      head: /^\s*([^\n<]+?)\s*(?=\n|<arg_key>|<\/arg_key>|<\/tool_call>)/,
      key: /<arg_key>([\s\S]*?)<\/arg_key>/,
      lead: /^\s*<arg_value>/,
      valueEnds: ['</arg_value>'],
      close: GLM.close,
      glued: '</arg_key>',
    },
    written: {
      begin: (name) => `${GLM.open}${name}${line}`,
      before: (key) => `<arg_key>${key}</arg_key>${line}<arg_value>`,
      after: `</arg_value>${line}`,
      ends: ['</arg_value>'],
      end: GLM.close,
      line,
    },
  };
}

// Double quotes, single ones or none.
const QUOTED = String.raw`(?:"([^"\n]*)"|'([^'\n]*)'|([^>\s]+))`;

/** `<invoke name="…">` and `<parameter name="…">`. */
export const INVOKES: MarkupForm = invokes('', {
  open: '<minimax:tool_call>',
  close: '</minimax:tool_call>',
});

/** The same with a bar token in each tag; the opening of a parameter says whether its value is text. */
export const DSML: MarkupForm = invokes('｜DSML｜', {
  open: '<｜DSML｜function_calls>',
  close: '</｜DSML｜function_calls>',
});

function invokes(bar: string, section: { open: string; close: string }): MarkupForm {
  const open = `<${bar}invoke name=`;
  const close = `</${bar}invoke>`;
  const isMarked = bar !== '';
  const valueEnds: [string, ...string[]] = [
    `</${bar}parameter>`,
    '</parameter>',
    ...[`\n<${bar}parameter name=`, `\n${close}`],
  ];
  const string = (isText: boolean) => (isMarked ? ` string="${String(isText)}"` : '');
  return {
    open,
    close,
    section,
    markup: {
      head: new RegExp(`^\\s*${QUOTED}\\s*>`),
      // Models may leave the bar out.
      key: new RegExp(`<(?:${bar})?parameter name=${QUOTED}[^>]*>`),
      valueEnds,
      close,
      ...(isMarked && { isText: markedText }),
    },
    written: {
      begin: (name) => `${open}"${name}">\n`,
      before: (key, isText) => `<${bar}parameter name="${key}"${string(isText)}>`,
      after: `</${bar}parameter>\n`,
      ends: valueEnds,
      marksText: isMarked,
      end: close,
      line: '\n',
    },
  };
}

function markedText(opening: string): boolean | null {
  const found = /\bstring=["']?(true|false)/.exec(opening);
  return found === null ? null : found[1] === 'true';
}
