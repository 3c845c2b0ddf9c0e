// One move of the model `tiny`, as its own process, which kills itself with SIGKILL at the nth event of it.
// Arguments: home, target folder, n. Prints `whole` when it came to its end before.
import { homePaths } from '../../../src/base/paths.js';
import { locatedPaths } from '../../../src/store/location.js';
import { readManifest } from '../../../src/store/manifest.js';
import { moveModel } from '../../../src/store/move/move.js';
import { testAddon } from '../../repack/fixtures.js';

const [folder = '', target = '', n = ''] = process.argv.slice(2);
const home = homePaths(folder);
const paths = await locatedPaths(home, 'tiny');
const manifest = await readManifest(paths.manifest);
if (manifest === null) throw new Error('no manifest');
let events = 0;
await moveModel(target, {
  ...{ home, id: 'tiny', paths, manifest, addon: testAddon(), fileSystem: 'ext4' },
  signal: new AbortController().signal,
  emit: () => {
    events += 1;
    if (events === Number(n)) process.kill(process.pid, 'SIGKILL');
  },
});
console.log('whole');
