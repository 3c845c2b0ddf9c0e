// Whether to colour a stream, and whether it can show more than ASCII. Colour never carries meaning alone.

export type ColorChoice = 'auto' | 'always' | 'never';

export interface StreamFacts {
  isTTY: boolean;
}

type Env = Readonly<Record<string, string | undefined>>;

/** The flag is most explicit, then FORCE_COLOR, then a non-empty NO_COLOR, then what the stream is. */
export function useColor(choice: ColorChoice, env: Env, stream: StreamFacts): boolean {
  if (choice !== 'auto') return choice === 'always';
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined) return forced !== '0' && forced !== 'false';
  if (env['NO_COLOR']) return false;
  return stream.isTTY && env['TERM'] !== 'dumb';
}

/** Box drawing and ticks only where the locale says UTF-8; a bare C locale gets ASCII. */
export function useUnicode(env: Env, platform: NodeJS.Platform): boolean {
  const locale = env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'];
  if (!locale) return platform === 'darwin';
  return /utf-?8/i.test(locale) && env['TERM'] !== 'linux' && env['TERM'] !== 'dumb';
}
