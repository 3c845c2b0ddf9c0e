// Lists the addon's C++ sources for binding.gyp, so that a new file needs no second entry.
import { readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));
const rooms = ['addon', 'core', 'blocks', 'quant', 'pack', 'experts', 'backend', 'backend/cpu', 'backend/checks', 'backend/metal'];

for (const room of rooms) {
  let names = [];
  try {
    names = readdirSync(join(native, room));
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
  for (const name of names.sort()) {
    // Only a Mac compiles Objective-C++.
    const ours = name.endsWith('.cpp') || (name.endsWith('.mm') && process.platform === 'darwin');
    if (ours) console.log(relative(process.cwd(), join(native, room, name)));
  }
}
