import { importSources } from '../../tools/typescript.mjs';

const { currentHost, homePaths, hubSettings, Controls, openSetup } = await importSources(
  'base/host',
  'base/paths',
  'hub/settings',
  'jobs/controls',
  'installer/setup',
);
// One real setup as far as the last file of the model, in a process of its own; the first answer is not of its concern, the
// weights are random. Prints what it took. Arguments: HOME ENDPOINT REPO QUANT.

const [home, endpoint, repo, quant] = process.argv.slice(2);
const host = currentHost();
const { settings } = await hubSettings({ ...host, userAgent: 'flashmoe-bench' });
const times = {};
let peakDisk = 0;
let notices = [];
const ended = new AbortController();
const emit = (event) => {
  if (event.type === 'step') times[`${event.step} ${event.status}`] = performance.now();
  if (event.type === 'disk') peakDisk = Math.max(peakDisk, event.peakBytes ?? 0);
  if (event.type === 'notice') notices.push(event.message);
  if (event.type === 'step' && event.step === 'finish' && event.status !== 'started') ended.abort();
};
const task = { emit, signal: ended.signal };
const cpu = process.cpuUsage();
const setup = await openSetup(
  {
    ...{ model: 'bench', repo, revision: 'main', quant, bundled: null, questions: [] },
    ...{ bytesPerSecond: 1, resumeCommand: 'run it again' },
  },
  {
    ...{ home: homePaths(home), host, hub: { ...settings, endpoint, token: null, proxy: null } },
    ...{ openEngine: () => Promise.reject(new Error('not asked for')), installService: null },
  },
  task,
);
let failure = null;
try {
  await setup.run({ ...task, controls: new Controls() });
} catch (error) {
  if (!ended.signal.aborted) failure = String(error.stack);
} finally {
  await setup.close();
}
const { user, system } = process.cpuUsage(cpu);
console.log(
  JSON.stringify({
    ...{ failure, notices, times, promise: setup.plan.peakBytes },
    seconds: (times['finish done'] - times['fetch started']) / 1000,
    cpu: (user + system) / 1e6,
    user: user / 1e6,
    peakResident: process.resourceUsage().maxRSS * 1024,
  }),
);
