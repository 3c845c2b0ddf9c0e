// Lines of a conversation that are for the program: /help, /model NAME. Pure.

export const CHAT_COMMANDS = [
  ['/help', '', 'these commands and the keys'],
  ['/system', '[TEXT]', 'what the model is told before everything; without a text, nothing'],
  ['/think', '[on|off|auto]', 'whether it thinks first; auto leaves it to the model'],
  ['/model', '[NAME]', 'another model of this machine; without a name, the list'],
  ['/experts', '[N|auto]', 'experts a token: fewer are faster and less exact'],
  ['/save', 'FILE', 'this conversation, as JSON'],
  ['/load', 'FILE', 'a conversation that was saved'],
  ['/clear', '', 'a new conversation'],
  ['/quit', '', 'leave; Ctrl-D does, too'],
] as const;

export type ChatCommandName = (typeof CHAT_COMMANDS)[number][0];

export type ChatLine =
  | { type: 'message'; text: string }
  | { type: 'command'; name: ChatCommandName; argument: string }
  /** `nearest` is null when none is near. */
  | { type: 'unknown'; word: string; nearest: string | null };

/** A line that begins with one slash is for us; `//` begins a message with a slash. */
export function parseChatLine(line: string): ChatLine {
  if (line.startsWith('//')) return { type: 'message', text: line.slice(1) };
  const [, word, argument = ''] = /^(\/[\w-]+)(?:\s+([\s\S]*))?$/.exec(line.trim()) ?? [];
  if (word === undefined) return { type: 'message', text: line };
  const asked = word.toLowerCase();
  const found = CHAT_COMMANDS.find(([name]) => name === asked);
  if (found !== undefined) return { type: 'command', name: found[0], argument: argument.trim() };
  if (asked === '/exit' || asked === '/bye') {
    return { type: 'command', name: '/quit', argument: '' };
  }
  const near = CHAT_COMMANDS.filter(([name]) => name.startsWith(asked.slice(0, 3)));
  return { type: 'unknown', word, nearest: near[0]?.[0] ?? null };
}
