// What a view that comes late must be told to look like one that was there from the beginning. Bounded: of
// everything that replaces itself the last is kept, of progress the first, the last and some seconds in
// between, which is what a rate is made of. Pure.

import type { InstallEvent } from '../events.js';
import type { TimedEvent } from './protocol.js';

const RECENT_MS = 11_000;
const SAMPLE_MS = 250;
const MOST_NOTICES = 100;
/** Far above layers and shards of any model; beyond it the oldest go. */
const MOST_FACTS = 20_000;

interface Kept extends TimedEvent {
  order: number;
}

export class History {
  readonly #facts = new Map<string, Kept>();
  readonly #lastSample = new Map<string, number>();
  #recent: Kept[] = [];
  #notices: Kept[] = [];
  #order = 0;
  #peak = 0;

  add(event: InstallEvent, t: number): void {
    const kept: Kept = { t, event, order: this.#order++ };
    switch (event.type) {
      case 'notice':
        this.#notices = [...this.#notices.slice(1 - MOST_NOTICES), kept];
        return;
      case 'progress':
        this.#addProgress(event, kept);
        return;
      case 'disk':
        if (event.usedBytes >= this.#peak) {
          this.#peak = event.usedBytes;
          this.#keep('disk peak', kept);
        } else {
          this.#keep('disk', kept);
        }
        return;
      default:
        this.#keep(keyOf(event), kept);
    }
  }

  /** In the order they happened. */
  events(): TimedEvent[] {
    return [...this.#facts.values(), ...this.#notices, ...this.#recent]
      .sort((a, b) => a.order - b.order)
      .map(({ t, event }) => ({ t, event }));
  }

  #addProgress(event: Extract<InstallEvent, { type: 'progress' }>, kept: Kept): void {
    const item = `${event.step} ${event.item}`;
    if (!this.#facts.has(`first ${item}`)) this.#keep(`first ${item}`, kept);
    else this.#keep(`last ${item}`, kept);
    if (kept.t - (this.#lastSample.get(item) ?? -Infinity) < SAMPLE_MS) return;
    this.#lastSample.set(item, kept.t);
    this.#recent = [...this.#recent.filter(({ t }) => kept.t - t <= RECENT_MS), kept];
  }

  #keep(key: string, kept: Kept): void {
    this.#facts.delete(key);
    this.#facts.set(key, kept);
    if (this.#facts.size <= MOST_FACTS) return;
    const [oldest] = this.#facts.keys();
    if (oldest !== undefined) this.#facts.delete(oldest);
  }
}

type Keyed = Exclude<InstallEvent, { type: 'notice' | 'progress' | 'disk' }>;

/** Two events with the same key: the later makes the earlier meaningless. */
function keyOf(event: Keyed): string {
  switch (event.type) {
    case 'step':
      return `step ${event.step}`;
    case 'finding':
      return `finding ${event.id}`;
    case 'build':
      return `build ${event.task}`;
    case 'shard':
      return `shard ${event.step} ${event.shard}`;
    case 'layer':
      return `layer ${event.layer}`;
    case 'retry':
      return `retry ${event.item}`;
    case 'waiting':
    case 'resumed':
      return 'hold';
    case 'slept':
      return `slept ${event.from}`;
    case 'answer':
      return `answer ${event.answer.name}`;
    case 'plan':
    case 'limits':
    case 'finished':
    case 'failed':
      return event.type;
  }
}
