// templates/haproxy.cfg in front of real servers: only addresses are changed.

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { start as startProgram, type Program } from '../helpers/child.js';

const TEMPLATE = new URL('../../templates/haproxy.cfg', import.meta.url);
const hasHaproxy = spawnSync('haproxy', ['-v']).status === 0;
if (!hasHaproxy)
  console.log('SKIP the fleet behind HAProxy: no haproxy here (apt install haproxy)');

interface Fleet {
  url: string;
  machines: Program[];
  ports: number[];
}

let folder = '';
let balancer: ChildProcess | null = null;
let machines: Program[] = [];

afterEach(async () => {
  balancer?.kill('SIGKILL');
  for (const { process: child } of machines.splice(0)) child.kill('SIGKILL');
  if (folder !== '') await rm(folder, { recursive: true });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** @param more machines behind the first three: arguments of machine.ts */
async function fleet(...more: string[][]): Promise<Fleet> {
  folder = await mkdtemp(join(tmpdir(), 'flashmoe-fleet-'));
  machines = [['one'], ['two'], ['three'], ...more].map((its) =>
    startProgram(new URL('./machine.ts', import.meta.url), its),
  );
  const ports = await Promise.all(machines.map((machine) => machine.line()));
  const port = await freePort();
  let text = await readFile(TEMPLATE, 'utf8');
  for (const [i, own] of ports.entries()) text = text.replaceAll(`:${11435 + i}\n`, `:${own}\n`);
  const config = join(folder, 'haproxy.cfg');
  await writeFile(config, text.replace(':11400\n', `:${port}\n`));
  balancer = spawn('haproxy', ['-f', config, '-db'], { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}`;
  const isUp = (): Promise<boolean> =>
    fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false,
    );
  await expect.poll(isUp, { timeout: 60_000 }).toBe(true);
  return { url, machines, ports: ports.map(Number) };
}

async function ask(
  { url }: Fleet,
  session: string | null,
  stream = false,
  model?: string,
): Promise<string> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: session === null ? {} : { 'x-session-id': session },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'who?' }], stream, model }),
  });
  if (!response.ok) return `${response.status} ${await response.text()}`;
  if (stream) {
    const text = await received(response);
    // One that broke off after its first word had begun: that is the client's to ask again.
    return /"content":"(\w+)"/.exec(text)?.[1] ?? `lost: ${text}`;
  }
  const body = (await response.json()) as { choices: { message: { content: string } }[] };
  return body.choices[0]?.message.content ?? '';
}

/** What came, also of a stream that broke off. */
async function received(response: Response): Promise<string> {
  let text = '';
  try {
    for await (const chunk of response.body ?? []) text += Buffer.from(chunk).toString();
  } catch (error) {
    text += `\nbroke off: ${String(error)}`;
  }
  return text;
}

describe.skipIf(!hasHaproxy)('three machines behind one address', () => {
  it('share the work, and keep a conversation', { timeout: 180_000 }, async () => {
    const all = await fleet();
    const answers = await Promise.all(Array.from({ length: 9 }, () => ask(all, null)));
    expect([...new Set(answers)].sort()).toEqual(['one', 'three', 'two']);
    const first = await ask(all, 'a conversation');
    for (let turn = 0; turn < 4; turn++) expect(await ask(all, 'a conversation')).toBe(first);
  });

  it.each(['answers in one piece', 'streams'])(
    'lose no request that had not begun, when one is killed: %s',
    { timeout: 180_000 },
    async (kind) => {
      const stream = kind === 'streams';
      const all = await fleet();
      // Behind the running one, others wait on the same machine; all of them move.
      const asked = Array.from({ length: 24 }, () => ask(all, null, stream));
      await Promise.race(asked);
      all.machines[1]?.process.kill('SIGKILL');
      const answers = await Promise.all(asked);
      const after = await Promise.all(Array.from({ length: 6 }, () => ask(all, null, stream)));
      expect([...answers, ...after].filter((text) => !/^(one|two|three)$/.test(text))).toEqual([]);
      expect(after).not.toContain('two');
    },
  );
});

/** Of loading. Probes take a machine out within six: every two, the second that fails. */
const LOAD_MS = 12_000;
const OUT_MS = 6_000;

describe.skipIf(!hasHaproxy)('machines with different models behind one address', () => {
  it('answer for the model that a request names', { timeout: 180_000 }, async () => {
    const all = await fleet(['four', 'second-model']);
    const named = (model?: string) =>
      Promise.all(Array.from({ length: 6 }, () => ask(all, null, false, model)));
    expect(new Set([...(await named('second-model')), ...(await named('Second-Model'))])).toEqual(
      new Set(['four']),
    );
    for (const model of [undefined, 'org/test-model', 'somewhere-else']) {
      expect(await named(model)).not.toContain('four');
    }
    const one = await fetch(`${all.url}/v1/models/second-model`);
    expect(await one.json()).toMatchObject({ id: 'second-model' });
  });

  it(
    'load what was let go, and nobody who asks meanwhile is sent away',
    { timeout: 240_000 },
    async () => {
      const all = await fleet(['four', 'second-model', String(LOAD_MS), '500']);
      const isLetGo = async (): Promise<unknown> => {
        const health = await fetch(`http://127.0.0.1:${all.ports[3]}/health`);
        return health.ok && ((await health.json()) as { loaded?: boolean }).loaded === false;
      };
      await expect.poll(isLetGo, { timeout: 60_000 }).toBe(true);
      // From before the first probe that fails to the end of loading.
      const asked: Promise<string>[] = [];
      const start = performance.now();
      let lastMs = 0;
      let isAnswered = false;
      while (!isAnswered) {
        lastMs = performance.now() - start;
        const answer = ask(all, null, asked.length % 2 === 1, 'second-model').catch(String);
        asked.push(answer);
        void answer.then(() => (isAnswered = true));
        await new Promise((resolve) => setTimeout(resolve, 900));
      }
      expect(lastMs).toBeGreaterThan(OUT_MS);
      expect(new Set(await Promise.all(asked))).toEqual(new Set(['four']));
    },
  );
});
