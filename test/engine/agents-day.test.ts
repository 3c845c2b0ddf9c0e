// A day of a coding agent: requests of the shapes that clients send, one after the other, with the bundled model and
// its store on disk. What can be known of a prompt is known, turn by turn.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { ChatMessage, ChatRequest, Engine, ToolDefinition } from '../../src/engine/types.js';
import { packed, type Packed } from './packed.js';

vi.setConfig({ testTimeout: 300_000, hookTimeout: 120_000 });

const never = new AbortController().signal;

const VERBS = ['read', 'write', 'list', 'search', 'run', 'edit', 'move', 'fetch', 'plan', 'ask'];
const tool = (verb: string, i: number): ToolDefinition => ({
  name: `${verb}_it`,
  description: `Use this to ${verb} something. Give the place and why. Call it once for each place. Rule ${i} holds.`,
  parameters: {
    type: 'object',
    properties: {
      place: { type: 'string', description: `what to ${verb}` },
      why: { type: 'string' },
    },
    required: ['place'],
  },
});
const TOOLS = VERBS.map(tool);
const RULES = Array.from(
  { length: 24 },
  (_, i) => `Rule ${i}: be careful with part ${i * 7}.`,
).join('\n');
const place = (project: string, files: readonly string[]): string =>
  `Folder: /home/me/${project}\nBranch: main\nChanged files:\n${files.map((file) => ` M ${file}`).join('\n')}`;
const system = (project: string, files: readonly string[]): ChatMessage => ({
  role: 'system',
  content: `You write programs.\n${RULES}\n${place(project, files)}`,
});
const user = (content: string): ChatMessage => ({ role: 'user', content });
const said = (content: string): ChatMessage => ({ role: 'assistant', content });
const late = (content: string): ChatMessage => ({ role: 'system', content });
const text = (what: string, lines: number): string =>
  Array.from(
    { length: lines },
    (_, i) => `${what} line ${i} has the value ${(i * 37) % 101}.`,
  ).join('\n');

let calls = 0;
function called(name: string, argument: string, thought: string, result: string): ChatMessage[] {
  const id = `call_${++calls}`;
  const toolCalls = [{ id, name, arguments: { place: argument } }];
  return [
    { role: 'assistant', content: '', reasoning: thought, toolCalls },
    { role: 'tool', content: result, toolCallId: id },
  ];
}

interface Turn {
  what: string;
  messages: ChatMessage[];
  tools?: ToolDefinition[];
  /** In another process than the turn before. */
  restarted?: boolean;
}

function day(): Turn[] {
  const turns: Turn[] = [];
  const add = (what: string, messages: readonly ChatMessage[], more: Partial<Turn> = {}): void => {
    turns.push({ what, messages: [...messages], ...more });
  };
  const files = ['src/one.ts', 'src/two.ts'];
  let talk = [system('alpha', files), user('Where is the fault in one.ts?')];
  add('the first prompt', talk);
  talk = [...talk, ...called('read_it', 'src/one.ts', 'I look.', text('one', 18))];
  add('a tool result', talk);
  talk = [...talk, ...called('search_it', 'two', 'And there.', text('two', 12))];
  add('a second tool result', talk);
  talk = [...talk, said('It is in line 3.'), late('Be brief.'), user('Mend it.')];
  add('a nudge of the system in the middle', talk);
  talk = [...talk, said('Done.'), user('<hook>formatted 1 file</hook>\nNow test it.')];
  add('the word of a hook', talk);
  talk = [...talk, ...called('run_it', 'tests', 'They run.', text('test', 10))];
  add('the result of the tests', talk);
  talk = [...talk, late('The sandbox is read-only now.')];
  add('a change of the sandbox', talk);
  talk = [...talk, said('I only read.'), late('Plan mode: change nothing.'), user('What is next?')];
  add('plan mode', talk);
  add('the same after a restart', [...talk, said('A plan.'), user('Go on.')], { restarted: true });
  talk = [...talk, said('A plan.'), user('Go on.')];
  talk = [...talk, ...called('read_it', 'shot.png', 'I look.', '[an image, left out]')];
  add('an image in a tool result', talk);
  const [, ...rest] = talk;
  add('a new file in the status', [
    system('alpha', [...files, 'src/three.ts']),
    ...rest.slice(0, 3),
  ]);
  add('a second project', [system('beta', ['main.py']), user('What is this project?')]);
  add('a second project, a second question', [
    system('beta', ['main.py']),
    user('What is this project?'),
    said('A program.'),
    user('In which language?'),
  ]);
  add('back in the first', [...talk, said('Nothing to see.'), user('Then end.')], {
    restarted: true,
  });
  add('a conversation that was summed up', [
    system('alpha', files),
    user(`So far: ${text('summary', 8)}`),
    said('I see.'),
    user('Go on.'),
  ]);
  add('one tool more', [system('alpha', files), user('With the new tool?')], {
    tools: [...TOOLS, tool('draw', 10)],
  });
  add('a document', [user(`${text('document', 40)}\nWhat is in line 3?`)], { tools: [] });
  add('another question to it', [user(`${text('document', 40)}\nWhat is in line 4?`)], {
    tools: [],
  });
  return turns;
}

let model: Packed;
beforeAll(async () => {
  model = await packed('tiny');
});
afterAll(() => rm(model.dir, { recursive: true }));

const open = (more: object = {}): Promise<Engine> =>
  model.open({
    contextLength: 8192,
    states: {
      root: join(model.dir, 'prompts'),
      maxBytes: 4e9,
      version: '1.2.3',
      now: () => Date.now(),
      notice: (error) => {
        throw error;
      },
    },
    ...more,
  });

it('computes little more of a day of prompts than cannot be known', async () => {
  let engine = await open();
  const seen: number[][] = [];
  let computed = 0;
  let least = 0;
  const lines: string[] = [];
  for (const turn of day()) {
    if (turn.restarted === true) {
      await engine.close();
      engine = await open();
    }
    const request: ChatRequest = {
      messages: turn.messages,
      tools: turn.tools ?? TOOLS,
      thinking: false,
      maxTokens: 3,
      stop: [],
      sampling: { temperature: 0 },
    };
    const { ids } = await engine.render(request);
    const shared = Math.max(0, ...seen.map((other) => agreed(ids, other)));
    const possible = Math.min(shared, ids.length - 1);
    let cached = -1;
    for await (const event of engine.chat(request, never)) {
      if (event.type === 'finish') cached = event.usage.cachedTokens;
    }
    lines.push(`${turn.what}: ${cached} of ${possible} of ${ids.length}`);
    // Nothing is lost but what lies between two checkpoints.
    expect(cached, lines.at(-1)).toBeGreaterThanOrEqual(possible - 256);
    computed += ids.length - cached;
    least += ids.length - possible;
    seen.push(ids);
  }
  await engine.close();
  const table = lines.join('\n');
  expect(computed / least, `${computed} of ${least}\n${table}`).toBeLessThanOrEqual(1.15);
});

function agreed(left: readonly number[], right: readonly number[]): number {
  const at = left.findIndex((id, i) => right[i] !== id);
  return at < 0 ? left.length : at;
}
