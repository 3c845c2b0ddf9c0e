// Holds the lock of a server in the folder of a model until it is told to end or killed. Argument: the folder.

import { Presence } from '../../../src/store/presence.js';

const presence = new Presence();
await presence.enter({ root: process.argv[2] ?? '' });
process.stdout.write('serving\n');
process.stdin.resume();
process.stdin.once('end', () => void presence.leave());
