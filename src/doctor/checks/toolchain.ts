import { checkToolchain } from '../../machine/toolchain.js';
import type { Check } from '../check.js';
import { hasWorkingAddon } from './engine.js';

/** Compiles a line, but only where the engine has to be built. */
export const toolchain: Check = {
  id: 'toolchain.compiler',
  title: 'compiler, make and Python, where the engine has to be built',
  timeoutMs: 120_000,
  async run(context, signal) {
    if (await hasWorkingAddon(context, signal)) {
      const title = 'compiler not tried: the engine is built already';
      return [{ id: 'toolchain.compiler', severity: 'skip', title }];
    }
    const findings = await checkToolchain(context.host, context.exec, signal);
    return findings.map((finding) =>
      finding.severity === 'warn' && finding.id.startsWith('toolchain.')
        ? { ...finding, severity: 'fail', why: 'the engine is not built, and cannot be without it' }
        : finding,
    );
  },
};
