import { useInsertionEffect, useLayoutEffect, useRef, useSyncExternalStore } from 'react';
import type { Size } from './Frame.js';
import type { TerminalWindow } from './window.js';

/** The size of the window; a change is drawn when the view is laid out for it. */
export function useWindow(window: TerminalWindow): Size {
  const size = useSyncExternalStore(window.subscribe, window.size);
  useLayoutEffect(() => window.settle(), [window, size]);
  return size;
}

/** Prints each item once, in the lines that fit when it comes, with the frame that follows from it. */
export function usePrinted<T>(
  window: TerminalWindow,
  items: readonly T[],
  linesOf: (item: T) => readonly string[],
): void {
  const told = useRef(0);
  // Before Ink draws; a layout effect comes after it.
  useInsertionEffect(() => {
    const lines = items.slice(told.current).flatMap(linesOf);
    told.current = items.length;
    if (lines.length > 0) window.print(lines);
  });
}
