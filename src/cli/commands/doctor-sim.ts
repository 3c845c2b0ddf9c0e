// flashmoe doctor --sim: what another machine would make of the models.

import { EXIT } from '../../base/errors.js';
import { formatBinaryBytes, formatBytes, formatRate } from '../../base/format.js';
import { parseMachine, simulate, type SimulatedMachine } from '../../doctor/simulate.js';
import type { CliContext } from '../context.js';
import { memoryPlanLine } from '../memory-plan-line.js';

export function simulateMachine(context: CliContext, words: string): number {
  const machine = parseMachine(words);
  const verdicts = simulate(machine);
  if (context.json) {
    context.emit('simulation', { schema: 1, machine, verdicts });
    return EXIT.done;
  }
  context.print(describe(machine));
  for (const { model, quants, memory, beside } of verdicts) {
    context.print(model);
    for (const [name, quant] of [
      ['4 bits', '4bit'],
      ['2 bits', '2bit'],
    ] as const) {
      context.print(`  ${name}  ${quants[quant].text}`);
      if (quants[quant].level === 'no') continue;
      context.print(context.style.dim(`          ${memoryPlanLine(memory[quant])}`));
    }
    for (const { machine: name, memoryGb, low, high, note, source } of beside) {
      const speed = low === high ? `${low}` : `${low} to ${high}`;
      const how = note === undefined ? '' : `, ${note}`;
      context.print(
        context.style.dim(`  ${name} ${memoryGb} GB: ${speed} tokens/s${how} (${source})`),
      );
    }
  }
  if (machine.readBytesPerSecond === null) {
    context.note('');
    context.note('no read rate of this chip is known: add one in GB/s, for example `,read=5`');
  }
  return EXIT.done;
}

function describe(machine: SimulatedMachine): string {
  const { chip, memoryBytes, freeBytes, readBytesPerSecond: rate, readSource } = machine;
  return [
    `${chip === null ? 'a machine' : chip} with ${formatBinaryBytes(memoryBytes)} of memory`,
    freeBytes === null ? 'enough free disk' : `${formatBytes(freeBytes)} free`,
    ...(rate === null ? [] : [`reads of ${formatRate(rate)} (${readSource})`]),
  ].join(', ');
}
