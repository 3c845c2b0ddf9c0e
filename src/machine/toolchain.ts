// What building the engine on this machine needs, proven by using it: after a system upgrade a compiler
// may be found by name and still compile nothing.

import { join } from 'node:path';
import type { Exec } from '../base/exec.js';
import type { Host } from '../base/host.js';
import { inTemporaryFolder } from '../base/temporary-folder.js';
import type { MachineFinding } from './finding.js';

export type ToolchainHost = Pick<Host, 'platform' | 'env' | 'temporaryDirectory'>;

/** std::span came with C++20, so an older compiler fails here and not in the middle of the build. */
const CPP_PROGRAM =
  '#include <span>\nint main() { return static_cast<int>(std::span<int>{}.size()); }\n';

/** MTLCreateSystemDefaultDevice needs CoreGraphics linked in a program without windows. */
const METAL_PROGRAM = `#import <Metal/Metal.h>
#include <stdio.h>
int main(void) {
  id<MTLDevice> device = MTLCreateSystemDefaultDevice();
  if (device == nil) return 3;
  puts(device.name.UTF8String);
  return 0;
}
`;
const METAL_FLAGS = ['-x', 'objective-c', '-fobjc-arc'];
const METAL_FRAMEWORKS = ['Metal', 'Foundation', 'CoreGraphics'].flatMap((f) => ['-framework', f]);

/** Compiler, make and python3, as findings; none is `fail`: a prebuilt engine needs none of them. */
export async function checkToolchain(
  host: ToolchainHost,
  exec: Exec,
  signal: AbortSignal,
): Promise<MachineFinding[]> {
  const hint = await installCommand(host, exec, signal);
  const compiler = await compiles(host, exec, signal);
  const tools: MachineFinding[] = [];
  for (const [tool, args, title] of [
    ['make', ['--version'], 'make'],
    ['python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))'], 'Python 3.9 or newer'],
  ] as const) {
    const { exitCode } = await exec(tool, args, { signal });
    tools.push(
      exitCode === 0
        ? { id: `toolchain.${tool}`, severity: 'ok', title: `${title} is here` }
        : { id: `toolchain.${tool}`, severity: 'warn', title: `${title} is missing`, hint },
    );
  }
  const findings: MachineFinding[] = [
    compiler === null
      ? { id: 'toolchain.compiler', severity: 'ok', title: `${compilerName(host)} compiles C++20` }
      : { id: 'toolchain.compiler', severity: 'warn', title: compiler, hint },
    ...tools,
  ];
  if (host.platform !== 'darwin') return findings;
  if (compiler !== null) return findings;
  return [...findings, await checkMetal(host, exec, signal)];
}

function compilerName(host: ToolchainHost): string {
  if (host.platform === 'darwin') return 'clang++';
  return host.env['CXX'] ?? 'c++';
}

/** null when a line of C++20 compiles and runs, else a sentence. */
async function compiles(
  host: ToolchainHost,
  exec: Exec,
  signal: AbortSignal,
): Promise<string | null> {
  const name = compilerName(host);
  const flags = ['-std=c++20', '-x', 'c++'];
  const run = await compileAndRun(host, exec, signal, [name, ...flags], CPP_PROGRAM, []);
  if (run.ran) return null;
  if (host.platform === 'darwin') {
    return 'the Command Line Tools are missing or do not compile a line of C++20';
  }
  return run.missing
    ? `the C++ compiler ${name} is missing`
    : `the C++ compiler ${name} does not compile a line of C++20`;
}

async function checkMetal(
  host: ToolchainHost,
  exec: Exec,
  signal: AbortSignal,
): Promise<MachineFinding> {
  const command = ['clang', ...METAL_FLAGS];
  const run = await compileAndRun(host, exec, signal, command, METAL_PROGRAM, METAL_FRAMEWORKS);
  if (run.ran) return { id: 'metal.device', severity: 'ok', title: `Metal: ${run.output}` };
  return {
    id: 'metal.device',
    severity: 'warn',
    title: 'no Metal device answers; the engine will use the CPU',
    hint: 'run in a login session on the Mac itself, not in a virtual machine',
  };
}

async function compileAndRun(
  host: ToolchainHost,
  exec: Exec,
  signal: AbortSignal,
  [program = '', ...flags]: string[],
  source: string,
  libraries: string[],
): Promise<{ ran: boolean; missing: boolean; output: string }> {
  return inTemporaryFolder(host, 'compile', async (folder) => {
    const binary = join(folder, 'probe');
    const args = [...flags, '-', ...libraries, '-o', binary];
    const built = await exec(program, args, { signal, input: source });
    if (built.exitCode !== 0) {
      return { ran: false, missing: built.exitCode === null, output: built.stderr };
    }
    const { exitCode, stdout } = await exec(binary, [], { signal });
    return { ran: exitCode === 0, missing: false, output: stdout.trim() };
  });
}

/** The command that installs what is missing, in the words of this system. */
async function installCommand(
  host: ToolchainHost,
  exec: Exec,
  signal: AbortSignal,
): Promise<string> {
  if (host.platform === 'darwin') return 'run `xcode-select --install` and confirm its dialog';
  const managers: [string, string][] = [
    ['apt-get', 'sudo apt-get install -y g++ make python3'],
    ['dnf', 'sudo dnf install -y gcc-c++ make python3'],
    ['zypper', 'sudo zypper install -y gcc-c++ make python3'],
    ['pacman', 'sudo pacman -S --needed gcc make python'],
    ['apk', 'sudo apk add g++ make python3'],
  ];
  for (const [manager, command] of managers) {
    const { exitCode } = await exec(manager, ['--version'], { signal });
    if (exitCode === 0) return `run \`${command}\``;
  }
  return 'install a C++20 compiler, make and Python 3.9 or newer';
}
