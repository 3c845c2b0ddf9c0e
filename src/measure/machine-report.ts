// What one machine measured of itself, as a file that its owner may give away: no names, no paths, no addresses.

import * as z from 'zod';

const count = z.number().int().nonnegative();
const measured = z.number().nonnegative();

/** In place of figures: why there are none. */
const notRun = z.strictObject({ notRun: z.string().min(1).max(300) });

const kernelRates = z.strictObject({
  operations: z
    .array(
      z.strictObject({
        name: z.string().max(64),
        bytes: measured,
        seconds: z.number().positive(),
        /** Of `seconds`, how long the device was at work; 0 on the CPU. */
        deviceSeconds: measured,
      }),
    )
    .min(1),
  waitSeconds: measured,
});

const readRates = z.strictObject({
  expertBytes: count,
  rates: z
    .array(
      z.strictObject({
        /** Through the page cache as it was found, or past it. */
        way: z.enum(['page cache', 'direct']),
        depth: count.min(1).max(64),
        bytesPerSecond: measured,
      }),
    )
    .min(1),
});

/** One prompt and its continuation. */
export const modelRunSchema = z.strictObject({
  /** cold: its files had left the page cache; as found: nobody can say. */
  cache: z.enum(['cold', 'as found', 'warm']),
  /** Memory that experts stay in: as much as the memory plan gives, or none. */
  experts: z.enum(['kept', 'not kept']),
  prefillRate: z.number().positive(),
  decodeRate: z.number().positive(),
  /** Shares of decoding: expert bytes that came from no disk, time that stood still for experts, and for the GPU. */
  hitRate: z.number().min(0).max(1).nullable(),
  waitShare: z.number().min(0),
  deviceWaitsPerToken: measured,
  deviceWaitShare: z.number().min(0),
  /** Share of decoding in which the GPU was at work; what is missing to 1 are gaps. */
  deviceBusyShare: z.number().min(0),
});

export const modelSpeedSchema = z.strictObject({
  /** A name of the catalogue, or `own`. */
  model: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,63}$/),
  quant: z.string().regex(/^[a-z0-9-]{1,32}$/),
  expertFileBytes: count,
  backend: z.enum(['cpu', 'metal']),
  expertsPerToken: count.min(1),
  prompt: count.min(1),
  decode: count.min(1),
  runs: z.array(modelRunSchema).min(1),
});

export const machineSchema = z.strictObject({
  platform: z.enum(['darwin', 'linux']),
  arch: z.string().max(16),
  /** Of the kernel: 25.1.0. */
  release: z.string().max(64),
  cpu: z.string().min(1).max(128),
  cores: count.min(1),
  memoryBytes: count.min(1),
  /** As it names itself; null without one. */
  gpu: z.string().max(128).nullable(),
  recommendedWorkingSetBytes: count.nullable(),
});

export const machineReportSchema = z.strictObject({
  format: z.literal('flashmoe-machine'),
  schema: z.literal(1),
  /** Of flashmoe. */
  version: z.string().max(32),
  /** 2026-11-30: a day says enough. */
  day: z.string().regex(/^\d{4}-\d{2}-\d{2}$/),
  machine: machineSchema,
  /** Operations that agreed with their references, of all that were tested. */
  selfTest: z.strictObject({
    cpu: z.union([z.strictObject({ agreed: count, of: count }), notRun]),
    metal: z.union([z.strictObject({ agreed: count, of: count }), notRun]),
  }),
  kernels: z.strictObject({
    cpu: z.union([kernelRates, notRun]),
    metal: z.union([kernelRates, notRun]),
  }),
  wired: z.union([
    z.strictObject({ fileBytes: count, mappedBytes: z.number(), allocatedBytes: z.number() }),
    notRun,
  ]),
  reads: z.union([readRates, notRun]),
  models: z.union([z.array(modelSpeedSchema).min(1), notRun]),
});

export const modelReportSchema = z.strictObject({
  format: z.literal('flashmoe-model-speed'),
  schema: z.literal(1),
  version: z.string().max(32),
  day: z.string().regex(/^\d{4}-\d{2}-\d{2}$/),
  machine: machineSchema,
  speed: modelSpeedSchema,
});

export type MachineReport = z.infer<typeof machineReportSchema>;
export type ModelReport = z.infer<typeof modelReportSchema>;
export type MachineFacts = z.infer<typeof machineSchema>;
export type ModelSpeed = z.infer<typeof modelSpeedSchema>;
export type ModelRun = z.infer<typeof modelRunSchema>;
export type NotRun = z.infer<typeof notRun>;

export const isNotRun = (value: object): value is NotRun => 'notRun' in value;

/** Throws an Error that says what is wrong with the text, and where. */
export function readReport(text: string): MachineReport | ModelReport {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('this is not JSON');
  }
  const schemas = {
    'flashmoe-machine': machineReportSchema,
    'flashmoe-model-speed': modelReportSchema,
  };
  const format = (value as { format?: unknown } | null)?.format;
  const schema = Object.entries(schemas).find(([name]) => name === format)?.[1];
  if (schema === undefined)
    throw new Error(`format is ${JSON.stringify(format)}: no report of flashmoe`);
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Error(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not as expected'}`);
}
