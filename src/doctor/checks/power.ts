import { parsePmset, parsePowerSource } from '../../machine/macos.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';

const id = 'power.sleep';

/** A night's download and a long answer both end when the machine sleeps. */
export const power: Check = {
  id,
  title: 'sleep settings, Low Power Mode and power source',
  timeoutMs: 10_000,
  async run({ host, exec }, signal) {
    if (host.platform !== 'darwin') {
      return [{ id, severity: 'skip', title: 'sleep settings are read on Macs only' }];
    }
    const [general, batteries] = await Promise.all([
      exec('pmset', ['-g'], { signal }),
      exec('pmset', ['-g', 'batt'], { signal }),
    ]);
    const settings = parsePmset(general.stdout);
    const sleep = settings.get('sleep');
    if (sleep === undefined) {
      return [{ id, severity: 'skip', title: 'pmset did not say when this Mac sleeps' }];
    }
    return [
      sleepFinding(Number(sleep), parsePowerSource(batteries.stdout)),
      ...(settings.get('lowpowermode') === '1' ? [LOW_POWER] : []),
    ];
  },
};

function sleepFinding(minutes: number, source: ReturnType<typeof parsePowerSource>): Finding {
  const from = source === null ? '' : source === 'ac' ? ', on mains' : ', on battery';
  if (source === 'battery') {
    return {
      id: 'power.battery',
      severity: 'warn',
      title: `${minutes === 0 ? 'never sleeps by itself' : `sleeps after ${minutes} min`}${from}`,
      why: 'nothing keeps a Mac on battery awake for a whole night, and a closed lid always wins',
      hint: 'plug it in and leave the lid open before a setup',
    };
  }
  if (minutes === 0) return { id, severity: 'ok', title: `this Mac never sleeps by itself${from}` };
  return {
    id,
    severity: 'info',
    title: `this Mac sleeps after ${minutes} min${from}`,
    why: 'setup and running answers hold it awake as long as the lid is open',
  };
}

const LOW_POWER: Finding = {
  id: 'power.low_power_mode',
  severity: 'warn',
  title: 'Low Power Mode is on',
  why: 'it slows the processor and with it every token',
  hint: 'switch it off in System Settings, Battery',
};
