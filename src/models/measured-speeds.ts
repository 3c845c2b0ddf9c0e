// What others measured, as data: decoding of models larger than memory, and reads of their machines. Each figure is
// its author's, at 4 bits; none was measured again by us, and ways of measuring differ (warm or cold, experts per
// token). They stand beside a measurement of this machine so that it can be placed, and decide nothing.

export interface MeasuredSpeed {
  machine: string;
  memoryGb: number;
  /** Catalogue id. */
  model: string;
  /** Tokens a second. */
  low: number;
  high: number;
  note?: string;
  /** Project or repository of the author. */
  source: string;
}

const UPSTREAM = 'github.com/danveloper/flash-moe and its forks';
const TRUNCATED = '4 of 10 experts';

export const MEASURED_SPEEDS: readonly MeasuredSpeed[] = [
  of397b('M1 Max', 64, 2.4, 2.9),
  of397b('M3 Max', 48, 4.36, 4.36),
  of397b('M4 Pro', 24, 3.5, 3.5),
  of397b('M4 Pro', 48, 3.1, 3.1),
  of397b('M4 Pro', 64, 3.17, 5.91),
  of397b('M4 Max', 48, 5.5, 5.5),
  of397b('M5 Max', 128, 9.5, 12.99),
  of35b('M1 Pro', 16, 8.3, 11.1),
  of35b('M4', 16, 6.6, 11.5),
  of35b('M4 Pro', 24, 20, 20),
];

function of397b(machine: string, memoryGb: number, low: number, high: number): MeasuredSpeed {
  const model = 'qwen3.5-397b';
  return { machine, memoryGb, model, low, high, note: TRUNCATED, source: UPSTREAM };
}

function of35b(machine: string, memoryGb: number, low: number, high: number): MeasuredSpeed {
  return { machine, memoryGb, model: 'qwen3.5-35b', low, high, source: UPSTREAM };
}

export interface MeasuredReads {
  /** As Apple names the chip, without the word Apple. */
  chip: string;
  /** Cold reads of internal storage, bytes a second. */
  low: number;
  high: number;
  source: string;
}

/** Larger internal drives of one chip are often faster: these are of the machines that were measured. */
export const MEASURED_READS: readonly MeasuredReads[] = [
  { chip: 'M1 Pro', low: 5.1e9, high: 5.3e9, source: UPSTREAM },
  { chip: 'M2', low: 1.5e9, high: 1.5e9, source: 'slotstream, M2 with 16 GB' },
  { chip: 'M4 Pro', low: 6.2e9, high: 6.8e9, source: UPSTREAM },
];

/** Cold reads of Macs before M5 end here; what is faster came from memory. */
export const FASTEST_BEFORE_M5 = 8e9;

/** The measured machines for a model, those with the nearest memory first. */
export function speedsBeside(model: string, memoryBytes: number): MeasuredSpeed[] {
  const distance = ({ memoryGb }: MeasuredSpeed): number =>
    Math.abs(Math.log(memoryGb / (memoryBytes / 2 ** 30)));
  return MEASURED_SPEEDS.filter((speed) => speed.model === model).sort(
    (a, b) => distance(a) - distance(b),
  );
}
