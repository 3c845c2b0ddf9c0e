// What would another machine make of the models: its chip, memory and disk as words, the catalogue's verdicts as
// the answer. Pure; the checks of this machine are not asked.

import { FlashmoeError } from '../base/errors.js';
import { CATALOG } from '../models/catalog.js';
import { MEASURED_READS, speedsBeside, type MeasuredSpeed } from '../models/measured-speeds.js';
import { planMemory, type MemoryPlan } from '../models/memory-plan.js';
import { memoryOfEntry } from '../models/model-memory.js';
import { verdict, type Verdict } from '../models/verdict.js';

export interface SimulatedMachine {
  /** As Apple names the chip, e.g. M4 Pro; null when none was named. */
  chip: string | null;
  memoryBytes: number;
  /** Free on the volume of the models; null: assumed to suffice. */
  freeBytes: number | null;
  readBytesPerSecond: number | null;
  /** Where the read rate comes from. */
  readSource: string | null;
}

export interface SimulatedVerdict {
  model: string;
  title: string;
  quants: Record<'4bit' | '2bit', Verdict>;
  /** How a server there would share its memory out. */
  memory: Record<'4bit' | '2bit', MemoryPlan>;
  /** Measured machines, nearest memory first. */
  beside: MeasuredSpeed[];
}

const HINT = 'for example `--sim m4-pro-48` or `--sim ram=16,disk=512,read=3`';
const CHIP = /^(m\d{1,2})(?:-(pro|max|ultra))?-(\d{1,4})$/;

/**
 * `m4-pro-48`: chip and gigabytes of memory. `ram=16,disk=512,read=3`: gigabytes of memory (binary, as sold) and
 * of free disk, and gigabytes a second; any order, and after a chip as well. ERR_USAGE naming the part that is wrong.
 */
export function parseMachine(text: string): SimulatedMachine {
  const machine: SimulatedMachine = {
    chip: null,
    memoryBytes: 0,
    freeBytes: null,
    readBytesPerSecond: null,
    readSource: null,
  };
  for (const part of text.toLowerCase().split(',')) {
    const [name = '', value] = part.trim().split('=');
    if (value === undefined) takeChip(machine, name);
    else takeFigure(machine, name, value);
  }
  if (machine.memoryBytes === 0) throw unknown(text, 'says nothing of its memory');
  return machine;
}

function takeChip(machine: SimulatedMachine, name: string): void {
  const found = CHIP.exec(name);
  if (found === null) throw unknown(name, 'is no machine like m4-pro-48');
  const [, generation = '', variant = '', memory = ''] = found;
  const suffix = variant === '' ? '' : ` ${variant.charAt(0).toUpperCase()}${variant.slice(1)}`;
  machine.chip = `${generation.toUpperCase()}${suffix}`;
  machine.memoryBytes = Number(memory) * 2 ** 30;
  const reads = MEASURED_READS.find(({ chip }) => chip === machine.chip);
  if (reads === undefined) return;
  machine.readBytesPerSecond = (reads.low + reads.high) / 2;
  machine.readSource = reads.source;
}

function takeFigure(machine: SimulatedMachine, name: string, value: string): void {
  const figure = /^\d{1,6}(\.\d+)?$/.test(value) ? Number(value) : 0;
  if (!(figure > 0)) throw unknown(`${name}=${value}`, 'is no figure in gigabytes');
  if (name === 'ram') machine.memoryBytes = figure * 2 ** 30;
  else if (name === 'disk') machine.freeBytes = figure * 1e9;
  else if (name === 'read') {
    machine.readBytesPerSecond = figure * 1e9;
    machine.readSource = 'as given';
  } else throw unknown(name, 'is none of ram, disk, read');
}

function unknown(part: string, why: string): FlashmoeError {
  return new FlashmoeError('ERR_USAGE', `--sim: ${part} ${why}`, { hint: HINT, subject: part });
}

/** Another machine's other programs, and what its GPU recommends, aren't known. */
const NOBODY_ELSE = { availableBytes: null, workingSetBytes: null };

export function simulate(machine: SimulatedMachine): SimulatedVerdict[] {
  return CATALOG.map((entry) => ({
    model: entry.id,
    title: entry.title,
    quants: {
      '4bit': verdict(entry, '4bit', machine),
      '2bit': verdict(entry, '2bit', machine),
    },
    memory: {
      '4bit': planMemory(memoryOfEntry(entry, '4bit'), { ...machine, ...NOBODY_ELSE }),
      '2bit': planMemory(memoryOfEntry(entry, '2bit'), { ...machine, ...NOBODY_ELSE }),
    },
    beside: speedsBeside(entry.id, machine.memoryBytes).slice(0, 3),
  }));
}
