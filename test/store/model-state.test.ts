import { expect, test } from 'vitest';
import { MODEL_STATES, modelState } from '../../src/store/model-state.js';
import { STATE_EXAMPLES } from '../../src/store/states-page.js';

test('every state has a way into it, and every one but absent and ready says why or needs no reason', () => {
  const found = STATE_EXAMPLES.map((facts) => modelState(facts));
  expect(new Set(found.map(({ state }) => state))).toEqual(new Set(MODEL_STATES));
  for (const { state, why, next } of found) {
    expect(next.length).toBeGreaterThan(1);
    if (['paused', 'unjudged', 'failed', 'packed'].includes(state)) expect(why, state).toBeTruthy();
  }
});

test('a report of another check is as good as none', () => {
  const ready = STATE_EXAMPLES.find((facts) => modelState(facts).state === 'ready');
  const { check } = ready?.manifest ?? {};
  if (ready === undefined || check === undefined) throw new Error('no example is ready');
  const old = { check: { ...check, version: check.version - 1 }, receipt: {} };
  expect(modelState({ ...ready, manifest: old }).state).toBe('unjudged');
});
