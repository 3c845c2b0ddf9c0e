// The real setup in this process: real hub on loopback, real addon and engine, real files.

import { openEngine } from '../../src/engine/open-engine.js';
import { currentHost } from '../../src/base/host.js';
import { homePaths } from '../../src/base/paths.js';
import type { FlashmoeError } from '../../src/base/errors.js';
import { Controls } from '../../src/jobs/controls.js';
import type { InstallEvent } from '../../src/jobs/events.js';
import type { Quant } from '../../src/models/quant.js';
import type { Receipt } from '../../src/store/receipt.js';
import { openSetup, type SetupRequest, type SetupContext } from '../../src/installer/setup.js';
import { testSettings } from '../helpers/hub/settings.js';
import { FIXTURE, questionsFor } from './provisioned.js';

export interface RunOptions {
  quant?: Quant;
  request?: Partial<SetupRequest>;
  world?: Partial<SetupContext>;
  /** Sees each event after it was recorded. */
  onEvent?: (event: InstallEvent, run: { controls: Controls; abort: AbortController }) => void;
}

export interface RunResult {
  events: InstallEvent[];
  receipt: Receipt | null;
  error: FlashmoeError | null;
}

export async function setUp(home: string, options: RunOptions = {}): Promise<RunResult> {
  const quant = options.quant ?? '4bit';
  const [controls, abort] = [new Controls(), new AbortController()];
  const events: InstallEvent[] = [];
  const emit = (event: InstallEvent): void => {
    events.push(event);
    options.onEvent?.(event, { controls, abort });
  };
  const request: SetupRequest = {
    ...{ model: 'tiny', repo: 'flashmoe/tiny', revision: 'main', quant, bundled: FIXTURE },
    ...{ questions: questionsFor(quant), bytesPerSecond: null },
    resumeCommand: 'flashmoe setup tiny',
    ...options.request,
  };
  const world: SetupContext = {
    ...{ home: homePaths(home), host: currentHost(), hub: testSettings('http://127.0.0.1:1') },
    ...{ openEngine, installService: null, pollMs: 20 },
    ...options.world,
  };
  try {
    const setup = await openSetup(request, world, { emit, signal: abort.signal });
    try {
      const receipt = await setup.run({ emit, signal: abort.signal, controls });
      return { events, receipt, error: null };
    } finally {
      await setup.close();
    }
  } catch (error) {
    return { events, receipt: null, error: error as FlashmoeError };
  }
}

/** Events of one type. */
export function only<T extends InstallEvent['type']>(
  events: readonly InstallEvent[],
  type: T,
): Extract<InstallEvent, { type: T }>[] {
  return events.filter((event): event is Extract<InstallEvent, { type: T }> => event.type === type);
}
