import { inspectSettings } from '../../settings/file.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';

const id = 'settings.file';

/** Whether settings.json can be understood, and which of its keys this version doesn't know. */
export const settings: Check = {
  id,
  title: 'settings.json: values and keys',
  timeoutMs: 5_000,
  async run({ home }) {
    const { unknown, problems } = await inspectSettings(home.settings);
    const path = home.settings;
    const findings = [
      ...problems.map((problem): Finding => ({
        ...{ id, severity: 'fail', title: `${path}: ${problem}` },
        why: 'serve and run stop where a setting cannot be used',
        hint: '`flashmoe config set` corrects a key; a file that is not JSON is edited or removed',
      })),
      ...unknown.map((key): Finding => ({
        ...{ id, severity: 'warn', title: `${path}: ${key} is not known to this version` },
        why: 'it was kept and changes nothing; it may be misspelt, or of another version',
      })),
    ];
    return findings.length > 0
      ? findings
      : [{ id, severity: 'ok', title: 'settings.json is in order' }];
  },
};
