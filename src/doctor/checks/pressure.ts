import { formatBytesBoth } from '../../base/format.js';
import { memoryFacts } from '../../machine/memory-facts.js';
import type { Check } from '../check.js';
import type { Finding } from '../finding.js';

const id = 'machine.pressure';
/** Of the machine's memory: less swapped out than this is habit, not distress. */
const MUCH_SWAP = 0.25;

/** A model larger than memory lives on the memory that is left for the page cache. */
export const pressure: Check = {
  id,
  title: 'memory pressure and swap',
  timeoutMs: 10_000,
  async run({ host, exec }, signal) {
    const facts = await memoryFacts(host, exec, signal);
    const { pressure: level, swapUsedBytes: swap, availableBytes: free } = facts;
    if (level === null && swap === null && free === null) {
      return [{ id, severity: 'skip', title: 'this system does not tell its memory pressure' }];
    }
    const title = [
      level === null ? 'memory' : `memory pressure ${level}`,
      ...(free === null ? [] : [`${formatBytesBoth(free)} available`]),
      ...(swap === null ? [] : [`${formatBytesBoth(swap)} swapped out`]),
    ].join(', ');
    const why = 'experts are read again and again when nothing is left to cache them';
    const hint = 'quit what uses much memory, then ask again: `flashmoe doctor --only machine`';
    const finding = (severity: Finding['severity']): Finding[] => [
      { id, severity, title, ...(severity === 'ok' ? {} : { why, hint }) },
    ];
    if (level === 'critical') return finding('fail');
    const isSwapping = swap !== null && swap > host.memoryBytes * MUCH_SWAP;
    return finding(level === 'warning' || isSwapping ? 'warn' : 'ok');
  },
};
