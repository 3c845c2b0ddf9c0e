// What the hub's client tells, as events of a setup.

import type { HubEvent, HubTask } from '../hub/types.js';
import type { Emit } from '../jobs/events.js';

export function hubTask({ emit, signal }: { emit: Emit; signal: AbortSignal }): HubTask {
  return { signal, emit: (event) => forwardHubEvent(event, emit) };
}

/** Retries and notices of small requests; their progress is not worth an event. */
export function forwardHubEvent(event: HubEvent, emit: Emit): void {
  if (event.type === 'retry') {
    const { file: item, attempt, delayMs, reason } = event;
    emit({ type: 'retry', item, attempt, delayMs, reason });
  } else if (event.type === 'notice') {
    emit(event);
  }
}
