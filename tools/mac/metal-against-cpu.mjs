// The bundled model's greedy tokens on Metal and on the CPU of this Mac, which must be the same. Prints "not run" and why
// where the GPU cannot run the kernels (a hosted runner's is a virtual machine's); exits 1 on a difference.
// Usage: node tools/mac/metal-against-cpu.mjs, after `make build`, with the bundled model set up in $FLASHMOE_HOME.
import { execFileSync, spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..', '..');
const cli = join(root, 'dist', 'cli', 'main.js');
const flashmoe = (...args) => execFileSync(process.execPath, [cli, ...args], { encoding: 'utf8' });

const { stdout } = spawnSync(process.execPath, [cli, 'doctor', '--only', 'engine.gpu', '--json'], {
  encoding: 'utf8',
});
const report = JSON.parse(stdout.trim().split('\n').at(-1));
const gpu = report.findings.find(({ id }) => id === 'engine.gpu');
if (gpu?.severity !== 'ok') {
  console.log(`not run: ${gpu?.title ?? 'doctor has no finding engine.gpu'}`);
  process.exit(0);
}

const questions = ['What is 347 + 285?', 'Reverse these words: sun river stone', 'Who are you?'];
let differences = 0;
for (const question of questions) {
  const [metal, cpu] = ['metal', 'cpu'].map((backend) =>
    flashmoe('run', '--backend', backend, '--temperature', '0', question).trim(),
  );
  const same = metal === cpu;
  if (!same) differences++;
  console.log(`${same ? 'same' : 'DIFFERENT'}  ${question}\n  metal: ${metal}\n  cpu:   ${cpu}`);
}
process.exit(differences === 0 ? 0 : 1);
