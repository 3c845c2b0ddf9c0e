// A wait that can be given up: for races against something that is awaited anyway.

export function timer(ms: number): { over: Promise<undefined>; clear: () => void } {
  let handle: NodeJS.Timeout | undefined;
  const over = new Promise<undefined>((resolve) => {
    handle = setTimeout(() => resolve(undefined), ms);
  });
  return { over, clear: () => clearTimeout(handle) };
}
