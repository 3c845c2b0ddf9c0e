// Which of two tiers answers: the local model, or a smaller one behind another server. Pure: a body and
// headers in, a decision out. The rules are those of docs/api.md.

export interface FastModels {
  /** What the other server is asked for when nothing else is named. */
  first: string;
  /** All that it has, or the one it was configured with. */
  all: ReadonlySet<string>;
}

export type Reason = 'header' | 'model' | 'tools' | 'length' | 'effort' | 'short' | 'default';

export type Decision =
  | { route: 'local'; reason: Reason | 'unavailable' }
  /** `mustBe`: it was asked for by name, so nothing else may answer. */
  | { route: 'fast'; reason: Reason; model: string; mustBe: boolean };

/** The header that overrides every rule. */
export const ROUTE_HEADER = 'x-flashmoe-route';

/** Characters of all texts of a conversation, about 1,500 tokens: longer ones are heavy work. */
export const SHORT = 6_000;

/**
 * @param models null when the other server doesn't say what it has
 * @returns null for a header that names no route
 */
export function decide(
  body: Readonly<Record<string, unknown>>,
  header: string | null,
  models: FastModels | null,
  localId: string | null,
): Decision | null {
  const asked = typeof body.model === 'string' ? body.model : '';
  const fast = models?.first ?? null;
  const toFast = (reason: Reason, mustBe: boolean, model = fast): Decision =>
    model === null
      ? { route: 'local', reason: 'unavailable' }
      : { route: 'fast', reason, model, mustBe };
  const known = models?.all.has(asked) === true ? asked : fast;
  if (header === 'local') return { route: 'local', reason: 'header' };
  if (header === 'fast') return toFast('header', true, known);
  if (header !== null && header !== 'auto') return null;
  if (header !== 'auto') {
    if (asked === 'fast') return toFast('model', true);
    if (asked !== localId && models?.all.has(asked) === true) return toFast('model', true, asked);
    if (asked !== 'auto')
      return { route: 'local', reason: asked === localId ? 'model' : 'default' };
  }
  const heavy = heaviness(body);
  return heavy === null ? toFast('short', false) : { route: 'local', reason: heavy };
}

/** Why a request is work for the large model; null when it isn't. */
function heaviness(body: Readonly<Record<string, unknown>>): Reason | null {
  const { tools, messages, input, prompt, system, instructions } = body;
  if (Array.isArray(tools) && tools.length > 0) return 'tools';
  const effort =
    body.reasoning_effort ?? (body.reasoning as { effort?: unknown } | null | undefined)?.effort;
  if (effort === 'high' || effort === 'xhigh' || effort === 'max') return 'effort';
  const length = textLength([messages, input, prompt, system, instructions], SHORT);
  return length > SHORT ? 'length' : null;
}

/** Characters of all texts inside `value`; stops counting behind `enough`. */
function textLength(value: unknown, enough: number): number {
  if (typeof value === 'string') return value.length;
  if (typeof value !== 'object' || value === null) return 0;
  let sum = 0;
  for (const inner of Object.values(value)) {
    sum += textLength(inner, enough - sum);
    if (sum > enough) break;
  }
  return sum;
}
