import { get } from 'node:http';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';
import type { DoctorContext } from '../context.js';

const id = 'server.health';
const ANSWER_MS = 3_000;
/** A health report is a few hundred bytes; anything longer is not ours. */
const BODY_LIMIT = 64 * 1024;

/** Asks the port over HTTP, which is what a client would do. */
export const server: Check = {
  id,
  title: 'who owns the port, and whether the server there is healthy',
  timeoutMs: 10_000,
  async run(context, signal) {
    const asked = await askHealth(context.port, signal);
    if (asked === 'refused') return [nobody(context)];
    if (asked === 'silent') return [await stranger(context, 'does not answer /health')];
    return [judge(context, asked.answer) ?? (await stranger(context, 'is not a flashmoe server'))];
  },
};

/** null when the answer is another program's: several say `{"status":"ok"}` and nothing else. */
function judge({ port }: DoctorContext, answer: unknown): Finding | null {
  const { status, model, error } = (answer ?? {}) as Record<string, unknown>;
  if (typeof model !== 'string' && model !== null) return null;
  const where = `the server on port ${port}`;
  const name = model === null ? 'no model' : printable(model);
  if (status === 'ok') return { id, severity: 'ok', title: `${where} answers with ${name}` };
  if (status === 'loading') return { id, severity: 'info', title: `${where} is loading ${name}` };
  if (status !== 'error') return null;
  const said = (error as { message?: unknown } | undefined)?.message;
  const why = typeof said === 'string' ? `: ${printable(said)}` : '';
  const title = `${where} runs but cannot answer${why}`;
  return { id, severity: 'fail', title, hint: 'flashmoe setup' };
}

/** Text from a port that anybody may hold: one line, of bounded length, nothing a terminal would obey. */
function printable(text: string): string {
  return text.replace(/\p{C}+/gu, ' ').slice(0, 300);
}

const nobody = ({ port }: DoctorContext): Finding => ({
  id,
  severity: 'info',
  title: `nothing listens on port ${port}`,
  hint: 'flashmoe serve',
});

async function stranger(context: DoctorContext, what: string): Promise<Finding> {
  const owner = (await context.portOwner(context.port)) ?? 'a process of another user';
  return {
    id: 'server.port',
    severity: 'fail',
    title: `port ${context.port} is held by ${owner}, which ${what}`,
    why: 'the flashmoe server cannot start there',
    hint: `stop it, or choose another port: \`flashmoe serve --port ${context.port + 1}\``,
  };
}

/** `answer` is null when it is too long or not JSON. Not fetch, which refuses some ports outright. */
function askHealth(
  port: number,
  signal: AbortSignal,
): Promise<{ answer: unknown } | 'refused' | 'silent'> {
  const timed = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
  return new Promise((resolve) => {
    const options = { host: '127.0.0.1', port, path: '/health', agent: false, signal: timed };
    const request = get(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > BODY_LIMIT) {
          resolve({ answer: null });
          request.destroy();
        }
      });
      response.on('end', () => resolve({ answer: parse(text) }));
      response.on('error', () => resolve('silent'));
    });
    request.on('error', ({ code }: NodeJS.ErrnoException) =>
      resolve(code === 'ECONNREFUSED' ? 'refused' : 'silent'),
    );
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
