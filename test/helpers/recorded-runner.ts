import { FlashmoeError } from '../../src/base/errors.js';
import type { InstallEvent, PlanSummary } from '../../src/jobs/events.js';
import type { Receipt } from '../../src/store/receipt.js';
import type { SetupChoice, SetupRunner } from '../../src/application/setup-runner.js';
import { someModels } from './models.js';
import { readRecording } from './recording.js';

export interface RecordedRunner extends SetupRunner {
  /** What was asked of it, in order. */
  calls: string[];
}

/** A runner that plays a recording, `stepMs` between events; it pauses, resumes and aborts as asked. */
export function recordedRunner(name: string, stepMs: number): RecordedRunner {
  const events = readRecording(name).map(({ event }) => event);
  const plan = events.find((event) => event.type === 'plan')?.plan as PlanSummary;
  const receipt = events.find((event) => event.type === 'finished')?.receipt as Receipt;
  const calls: string[] = [];
  const say = (what: string, choice: SetupChoice): void => {
    calls.push(`${what} ${choice.model} ${choice.quant} ${choice.service ? 'service' : 'alone'}`);
  };
  return {
    calls,
    machine: () =>
      Promise.resolve(events.flatMap((event) => (event.type === 'finding' ? event : []))),
    models: () => Promise.resolve(someModels),
    source: (kind, text) => {
      calls.push(`source ${kind} ${text}`);
      if (!text.includes('/')) {
        return Promise.reject(new FlashmoeError('ERR_USAGE', `${text} is no repository name`));
      }
      const model = text.replace('/', '--');
      const from = kind === 'from' ? text : null;
      return Promise.resolve({ model, repo: text, revision: null, from, file: null, quant: null });
    },
    plan: (choice) => {
      say('plan', choice);
      return Promise.resolve({ ...plan, model: choice.model, quant: choice.quant });
    },
    start: (choice, { emit, signal }) => {
      say('start', choice);
      const gate = createGate(emit, calls);
      return { done: play(events, stepMs, emit, signal, gate.open).then(() => receipt), ...gate };
    },
    background: (choice) => {
      say('background', choice);
      return Promise.resolve({ pid: 4242, log: '/home/sam/.flashmoe/logs/setup.log' });
    },
  };
}

interface Gate {
  open: () => Promise<void>;
  pause: () => void;
  resume: () => void;
}

function createGate(emit: (event: InstallEvent) => void, calls: string[]): Gate {
  let closed: Promise<void> | null = null;
  let release: () => void = () => undefined;
  return {
    open: () => closed ?? Promise.resolve(),
    pause: () => {
      calls.push('pause');
      closed = new Promise((resolve) => (release = resolve));
      emit({ type: 'waiting', code: 'paused', reason: 'paused by you' });
    },
    resume: () => {
      calls.push('resume');
      closed = null;
      release();
      emit({ type: 'resumed' });
    },
  };
}

async function play(
  events: InstallEvent[],
  stepMs: number,
  emit: (event: InstallEvent) => void,
  signal: AbortSignal,
  open: () => Promise<void>,
): Promise<void> {
  const aborted = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  for (const event of events) {
    await Promise.race([open(), aborted]);
    await Promise.race([new Promise((resolve) => setTimeout(resolve, stepMs)), aborted]);
    if (signal.aborted) throw new FlashmoeError('ERR_INTERRUPTED', 'interrupted');
    if (event.type === 'failed') throw new FlashmoeError(event.code, event.message);
    emit(event);
  }
}
