// Text from elsewhere (models, templates, hubs) on a terminal. Control characters in it could move the cursor, change the
// title, write to the clipboard or hide what was said.

// C0 but for tab and line feed, DEL, C1, and the marks that turn the direction of text around (Trojan Source).
const CONTROL = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]/g;

/** The same text without anything that a terminal obeys. `\r\n` becomes `\n`; safe on any piece of a stream. */
export function terminalText(text: string): string {
  return text.replace(CONTROL, '');
}
