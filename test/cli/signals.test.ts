import { describe, expect, test } from 'vitest';
import { start } from '../helpers/child.js';

const program = new URL('../helpers/interruptible.ts', import.meta.url);

async function ready(mode: string, attached = 'attached') {
  const child = start(program, [mode, attached]);
  expect(await child.line()).toBe('ready');
  return child;
}

describe('signals', () => {
  test('the first Ctrl-C lets the work end by itself, with 130', async () => {
    const child = await ready('graceful');
    child.process.kill('SIGINT');
    expect(await child.line()).toBe('flushed: interrupted');
    expect(await child.ended).toBe(130);
  });

  test('the second Ctrl-C ends it at once, with 130', async () => {
    const child = await ready('stubborn');
    child.process.kill('SIGINT');
    expect(await child.line()).toBe('heard');
    child.process.kill('SIGINT');
    expect(await child.ended).toBe(130);
  });

  test('SIGTERM ends gracefully with 143', async () => {
    const child = await ready('graceful');
    child.process.kill('SIGTERM');
    expect(await child.line()).toBe('flushed: terminated');
    expect(await child.ended).toBe(143);
  });

  test('a closed terminal ends it like SIGTERM, a detached run carries on', async () => {
    const child = await ready('graceful');
    child.process.kill('SIGHUP');
    expect(await child.ended).toBe(143);

    const detached = await ready('graceful', 'detached');
    detached.process.kill('SIGHUP');
    detached.process.kill('SIGINT');
    expect(await detached.line()).toBe('flushed: interrupted');
    expect(await detached.ended).toBe(130);
  });

  test('a reader that goes away ends it without a word on stderr', async () => {
    const child = await ready('chatty');
    child.process.stdout?.destroy();
    expect(await child.ended).toBe(130);
    expect(child.stderr()).toBe('');
  });
});
