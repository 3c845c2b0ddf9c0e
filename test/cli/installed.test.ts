import { expect, it } from 'vitest';
import { choose, type Ready } from '../../src/application/ready-models.js';
import type { Quant } from '../../src/models/quant.js';

const installed = (id: string, quant: Quant): Ready =>
  ({ id, manifest: { model: 'tiny', quant } }) as unknown as Ready;
const both = [installed('tiny', '4bit'), installed('tiny-2bit', '2bit')];
const settings = { model: 'tiny', quant: '2bit' } as const;

it.each<[string, string | null, string, string]>([
  ['no name', null, 'tiny-2bit', 'the model and width of the settings'],
  ['the id of one width', 'tiny', 'tiny', 'that one, whatever the settings say'],
  ['the id of the other', 'TINY-2bit', 'tiny-2bit', 'that one'],
])('of two widths, %s (%s) means %s: %s', (_, name, id) => {
  expect(choose(both, name, settings).id).toBe(id);
});

it('a model of which one width is here needs no more than its name', () => {
  expect(choose([installed('tiny-2bit', '2bit')], 'tiny', {}).id).toBe('tiny-2bit');
});

it('a name that is not here is refused with those that are', () => {
  expect(() => choose(both, 'other', settings)).toThrow('here are tiny, tiny-2bit');
});
