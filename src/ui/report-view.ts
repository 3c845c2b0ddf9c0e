// The morning's report as lines of at most 80 columns.

import { formatBytesBoth, formatBytes, formatDuration, formatRate } from '../base/format.js';
import { shorten } from './table.js';
import type { ModelStateName } from '../store/model-state.js';
import { clockOf, sleptText } from '../base/clock.js';

export interface NightReport {
  model: string;
  state: ModelStateName;
  /** null where the state says it all. */
  why: string | null;
  /** The command that leads on. */
  next: string;
  runs: number;
  killed: number;
  receivedBytes: number;
  /** Received beyond what the model is made of: listings, headers, and what came twice. Null before the end. */
  wastedBytes: number | null;
  peakBytes: number;
  timeline: readonly { from: string; bytesPerSecond: number | null }[];
  waits: readonly { from: string; until: string; reason: string }[];
  sleeps: readonly { from: string; until: string }[];
  outcome: string | null;
  finalBytes: number | null;
  contentSha256: string | null;
  doneBytes: number | null;
  totalBytes: number | null;
}

const BAR = 40;
/** The longest waits are shown, the rest is summed up. */
const WAIT_ROWS = 12;

export function reportText(report: NightReport): string {
  return [
    ...headLines(report),
    ...timelineLines(report.timeline),
    ...waitLines(report.waits),
    ...report.sleeps.map((sleep) => sleptText(sleep)),
    ...(report.contentSha256 === null ? [] : ['', `sha256 ${report.contentSha256}`]),
  ].join('\n');
}

function headLines(report: NightReport): string[] {
  const { model, runs, killed, receivedBytes, wastedBytes, peakBytes, finalBytes } = report;
  const ends = killed === 0 ? '' : `, ${killed} of them killed`;
  const beyond = wastedBytes === null ? '' : `, ${formatBytes(wastedBytes)} of it beyond the model`;
  const far =
    report.doneBytes === null || report.totalBytes === null
      ? []
      : [
          `unfinished: ${formatBytes(report.doneBytes)} of ${formatBytes(report.totalBytes)} are here`,
        ];
  return [
    `${model}: ${runs} ${runs === 1 ? 'run' : 'runs'}${ends}${outcomeText(report.outcome)}`,
    `received ${formatBytesBoth(receivedBytes)}${beyond}`,
    `most on disk ${formatBytesBoth(peakBytes)}${finalBytes === null ? '' : `, now ${formatBytes(finalBytes)}`}`,
    ...far,
    `${report.state}${report.why === null ? '' : `: ${report.why}`}; next: ${report.next}`,
  ];
}

/** Of a run, by the code that it ended with; any other one failed. */
const OUTCOMES: Readonly<Record<string, string>> = {
  ERR_INTERRUPTED: 'was stopped',
  ERR_DEADLINE: 'ended at its deadline',
  ERR_NETWORK: 'lost the network',
  ERR_OFFLINE: 'had no network',
  ERR_DISK_FULL: 'ran out of disk space',
  ERR_IO: 'could not write to the disk',
  ERR_AUTH: 'was refused by the hub',
  ERR_HASH: 'got bytes that were not the hub’s',
  ERR_KNOWN_ANSWER: 'gave wrong answers',
  ERR_LOCKED: 'found another one at work',
};

function outcomeText(outcome: string | null): string {
  if (outcome === null) return '';
  return outcome === 'finished' ? ', finished' : `, the last ${OUTCOMES[outcome] ?? 'failed'}`;
}

function timelineLines(timeline: NightReport['timeline']): string[] {
  const most = Math.max(...timeline.map(({ bytesPerSecond }) => bytesPerSecond ?? 0), 1);
  const rows = timeline.flatMap(({ from, bytesPerSecond }, index) => {
    if (bytesPerSecond === null) {
      // Hours in which nobody worked are one line.
      const isFirst = timeline[index - 1]?.bytesPerSecond !== null || index === 0;
      return isFirst ? [`${clockOf(from)}            nobody at work`] : [];
    }
    const bar = '#'.repeat(Math.round((bytesPerSecond / most) * BAR));
    return [`${clockOf(from)} ${formatRate(bytesPerSecond).padStart(11)}  ${bar}`.trimEnd()];
  });
  return rows.length === 0 ? [] : ['', ...rows];
}

function waitLines(waits: NightReport['waits']): string[] {
  if (waits.length === 0) return [];
  const timed = waits.map((wait) => ({
    ...wait,
    seconds: (new Date(wait.until).getTime() - new Date(wait.from).getTime()) / 1000,
  }));
  const longest = [...timed].sort((a, b) => b.seconds - a.seconds).slice(0, WAIT_ROWS);
  const total = timed.reduce((sum, { seconds }) => sum + seconds, 0);
  return [
    '',
    `waited ${waits.length} times, ${formatDuration(total)} in all`,
    ...longest
      .sort((a, b) => a.from.localeCompare(b.from))
      .map(({ from, seconds, reason }) =>
        shorten(`${clockOf(from)} ${formatDuration(seconds).padStart(11)}  ${reason}`, 79),
      ),
  ];
}
