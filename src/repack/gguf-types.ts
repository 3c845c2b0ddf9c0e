// Element types of GGUF by their numbers. Which of them a model may be set up from is decided elsewhere: a file with others is
// still read, so that it can be refused by what it holds. Numbers are those of ggml-org/llama.cpp, gguf-py/gguf/constants.py.

export interface GgufType {
  name: string;
  /** Values of a block, and its bytes. */
  values: number;
  bytes: number;
}

const BLOCKS: readonly (readonly [number, string, number, number])[] = [
  ...([
    [0, 'F32', 1, 4],
    [1, 'F16', 1, 2],
    [30, 'BF16', 1, 2],
  ] as const),
  ...([
    [2, 'Q4_0', 32, 18],
    [3, 'Q4_1', 32, 20],
    [6, 'Q5_0', 32, 22],
    [7, 'Q5_1', 32, 24],
  ] as const),
  ...([
    [8, 'Q8_0', 32, 34],
    [10, 'Q2_K', 256, 84],
    [11, 'Q3_K', 256, 110],
  ] as const),
  ...([
    [12, 'Q4_K', 256, 144],
    [13, 'Q5_K', 256, 176],
    [14, 'Q6_K', 256, 210],
  ] as const),
  ...([
    [16, 'IQ2_XXS', 256, 66],
    [17, 'IQ2_XS', 256, 74],
    [18, 'IQ3_XXS', 256, 98],
  ] as const),
  ...([
    [19, 'IQ1_S', 256, 50],
    [20, 'IQ4_NL', 32, 18],
    [21, 'IQ3_S', 256, 110],
  ] as const),
  ...([
    [22, 'IQ2_S', 256, 82],
    [23, 'IQ4_XS', 256, 136],
    [29, 'IQ1_M', 256, 56],
  ] as const),
  ...([
    [24, 'I8', 1, 1],
    [25, 'I16', 1, 2],
    [26, 'I32', 1, 4],
    [27, 'I64', 1, 8],
  ] as const),
  ...([
    [28, 'F64', 1, 8],
    [34, 'TQ1_0', 256, 54],
    [35, 'TQ2_0', 256, 66],
  ] as const),
  ...([
    [39, 'MXFP4', 32, 17],
    [40, 'NVFP4', 64, 36],
    [41, 'Q1_0', 128, 18],
  ] as const),
  ...([[42, 'Q2_0', 64, 18]] as const),
];

const TYPES = new Map(
  BLOCKS.map(([number, name, values, bytes]): [number, GgufType] => [
    number,
    { name, values, bytes },
  ]),
);

/** Numbers that no file should have, and why. */
const WRONG: Readonly<Record<number, string>> = {
  ...{ 4: 'Q4_2, which was withdrawn', 5: 'Q4_3, which was withdrawn' },
  ...{ 9: 'Q8_1, which no file holds', 15: 'Q8_K, which no file holds' },
  ...{ 31: 'Q4_0_4_4, which was withdrawn', 32: 'Q4_0_4_8, which was withdrawn' },
  ...{ 33: 'Q4_0_8_8, which was withdrawn', 36: 'IQ4_NL_4_4, which was withdrawn' },
  ...{ 37: 'IQ4_NL_4_8, which was withdrawn', 38: 'IQ4_NL_8_8, which was withdrawn' },
};

/** The type, or why there is none of this number. */
export function ggufType(number: number): GgufType | string {
  return TYPES.get(number) ?? WRONG[number] ?? `unknown type ${number}`;
}
