// Rewrites the file named by the first argument until it is killed, each time with another letter.
import { writeFileAtomic } from '../../../src/base/atomic-file.js';

const [path = ''] = process.argv.slice(2);
for (let round = 0; ; round += 1) {
  await writeFileAtomic(path, String.fromCharCode(97 + (round % 26)).repeat(100_000));
  if (round === 0) console.log('writing');
}
