// One real `requantise` of a model in a home, as its own process. Prints every event but progress as a JSON line.
// Arguments: a JSON object of type `Job`.
import { requantiseRequest, type RequantiseChoice } from '../../../src/application/requantise.js';
import { currentHost } from '../../../src/base/host.js';
import { homePaths } from '../../../src/base/paths.js';
import { openEngine } from '../../../src/engine/open-engine.js';
import { hubSettings } from '../../../src/hub/settings.js';
import { openSetup } from '../../../src/installer/setup.js';
import { Controls } from '../../../src/jobs/controls.js';

export interface Job extends RequantiseChoice {
  home: string;
}

const { home: at, ...choice } = JSON.parse(process.argv[2] ?? '') as Job;
const { signal } = new AbortController();
const host = currentHost();
const home = homePaths(at);
const emit = (event: { type: string }): void => {
  if (event.type !== 'progress') process.stdout.write(`${JSON.stringify(event)}\n`);
};
const note = (): void => undefined;
const request = await requantiseRequest({ host, version: 'test', home, signal, note }, choice);
const { settings: hub } = await hubSettings({ ...host, userAgent: 'flashmoe-test' });
const setup = await openSetup(
  request,
  { home, host, hub, openEngine, installService: null, pollMs: 50 },
  { emit, signal },
);
try {
  await setup.run({ emit, signal, controls: new Controls() });
} finally {
  await setup.close();
}
