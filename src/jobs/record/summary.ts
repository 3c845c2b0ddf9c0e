// A record as figures and a timeline. Pure.

import type { RecordLine } from './lines.js';

export interface Wait {
  /** ISO 8601. */
  from: string;
  until: string;
  reason: string;
}

export interface RecordSummary {
  runs: number;
  /** Runs that ended without a word: killed, or the power went. */
  killed: number;
  receivedBytes: number;
  peakBytes: number;
  /** At most `TIMELINE_ROWS` equal spans from the first byte to the last; null where nobody was at work. */
  timeline: { from: string; bytesPerSecond: number | null }[];
  waits: Wait[];
  sleeps: Omit<Wait, 'reason'>[];
  /** Of the last run; null while it is at work, or when it was killed. */
  outcome: string | null;
}

const TIMELINE_ROWS = 24;
const LEAST_SPAN_MS = 60_000;

export function summarise(lines: readonly RecordLine[]): RecordSummary {
  const summary: RecordSummary = {
    ...{ runs: 0, killed: 0, receivedBytes: 0, peakBytes: 0 },
    ...{ timeline: timelineOf(lines), waits: [], sleeps: [], outcome: null },
  };
  let inRun = 0;
  let open = false;
  for (const line of lines) {
    switch (line.do) {
      case 'earlier':
        summary.runs += line.runs;
        summary.receivedBytes += line.received;
        summary.peakBytes = Math.max(summary.peakBytes, line.peak);
        break;
      case 'begin':
        if (open) summary.killed += 1;
        open = true;
        inRun = 0;
        summary.runs += 1;
        summary.outcome = null;
        break;
      case 'sample':
      case 'end':
        summary.receivedBytes += Math.max(0, line.received - inRun);
        inRun = Math.max(inRun, line.received);
        summary.peakBytes = Math.max(summary.peakBytes, line.peak);
        if (line.do === 'sample') break;
        summary.outcome = line.outcome;
        open = false;
        break;
      case 'wait':
        summary.waits.push({ ...span(line), reason: line.reason });
        break;
      case 'slept':
        summary.sleeps.push(span(line));
    }
  }
  return summary;
}

function timelineOf(lines: readonly RecordLine[]): RecordSummary['timeline'] {
  const pieces: { from: number; until: number; bytes: number }[] = [];
  let last: { at: number; received: number } | null = null;
  for (const line of lines) {
    if (line.do === 'begin') last = { at: line.at, received: 0 };
    if ((line.do !== 'sample' && line.do !== 'end') || last === null) continue;
    const bytes = Math.max(0, line.received - last.received);
    if (line.at > last.at) pieces.push({ from: last.at, until: line.at, bytes });
    last = { at: line.at, received: line.received };
  }
  const [first] = pieces;
  const end = pieces.at(-1)?.until;
  if (first === undefined || end === undefined) return [];
  const width = Math.max(LEAST_SPAN_MS, Math.ceil((end - first.from) / TIMELINE_ROWS));
  const rows = Math.ceil((end - first.from) / width);
  return Array.from({ length: rows }, (_, row) => {
    const from = first.from + row * width;
    let [bytes, atWork] = [0, 0];
    for (const piece of pieces) {
      const shared = Math.min(piece.until, from + width) - Math.max(piece.from, from);
      if (shared <= 0) continue;
      atWork += shared;
      bytes += (piece.bytes * shared) / (piece.until - piece.from);
    }
    const bytesPerSecond = atWork === 0 ? null : Math.round((bytes * 1000) / atWork);
    return { from: new Date(from).toISOString(), bytesPerSecond };
  });
}

function span({ at, until }: { at: number; until: number }): Omit<Wait, 'reason'> {
  return { from: new Date(at).toISOString(), until: new Date(until).toISOString() };
}
