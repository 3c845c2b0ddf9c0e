// The stand-in's Metal.h was written for this project. Compiling metal_device.mm against it shows that every selector
// the file sends is declared there; this test shows that what is declared there is Apple's, by name and by type.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/base/package-root.js';

const folder = join(packageRoot, 'test', 'metal');
const apple = JSON.parse(readFileSync(join(folder, 'apple-selectors.json'), 'utf8')) as {
  classes: Record<string, Record<string, string>>;
};

/** Of methods of other classes that a class of ours has, since Apple's declares them in a parent. */
const PARENTS: Record<string, string> = { MTLComputeCommandEncoder: 'MTLCommandEncoder' };

const normal = (type: string): string => type.replaceAll('const ', '').replace(/\s+/g, '');

/** `- (R)a:(A)x b:(B)y;` as selector `a:b:` and type `R(A,B)`. */
function declared(header: string): { owner: string; selector: string; type: string }[] {
  const owners = header.matchAll(/^@(?:protocol|interface) (MTL\w+) (?:<|:)[\s\S]*?^@end/gm);
  return [...owners].flatMap(([body, owner = '']) =>
    [...body.matchAll(/^- \(([^)]+)\)([\s\S]*?);/gm)].map(([, result = '', rest = '']) => {
      const parts = [...rest.matchAll(/(\w+):\(([^)]+)\)\w+/g)];
      const selector = parts.length === 0 ? rest.trim() : parts.map(([, name]) => `${name}:`).join('');
      const types = parts.map(([, , type = '']) => type);
      return { owner, selector, type: `${normal(result)}(${types.map(normal).join(',')})` };
    }),
  );
}

const methods = declared(readFileSync(join(folder, 'stand_in/Metal/Metal.h'), 'utf8'));

/** A block is a pointer to what has no blocks; a buffer is an allocation to Apple's protocols. */
function applesType(owner: string, selector: string): string | undefined {
  const classes = [owner, PARENTS[owner] ?? ''];
  const found = classes.map((name) => apple.classes[name]?.[selector]).find((type) => type !== undefined);
  return found === undefined ? undefined : normal(found).replace(/void\(\^\)\([^)]*\)/, 'void*');
}

test('what the stand-in declares of Metal is declared by Apple with the same types', () => {
  expect(methods.length).toBeGreaterThan(35);
  const wrong = methods
    .filter(({ owner, selector, type }) => applesType(owner, selector) !== type)
    .map(({ owner, selector, type }) => `${owner} ${selector} ${type}, Apple's: ${applesType(owner, selector)}`);
  expect(wrong).toEqual([]);
});
