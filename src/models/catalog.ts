// The models we name. Numbers here serve an estimate before anything is asked of the hub; once a repository was
// listed, its own files decide. Sizes are sums over tensor shapes at 4 bits, groups of 64, 16-bit parameters.

import { FlashmoeError } from '../base/errors.js';
import { type CatalogEntry, MLX_SHARD_BYTES, UNKNOWN_LICENSE } from './catalog-entry.js';
import { MORE_MODELS } from './catalog-more.js';

export type { CatalogEntry } from './catalog-entry.js';

export const CATALOG: CatalogEntry[] = [
  {
    id: 'qwen3.5-397b',
    title: 'Qwen3.5 397B-A17B',
    repo: 'mlx-community/Qwen3.5-397B-A17B-4bit',
    goodFor: 'the strongest here that a Mac with 24 GB runs: chat, code, agents, 201 languages',
    license: 'Apache-2.0',
    modelType: 'qwen3_5_moe',
    routedLayers: 60,
    experts: 512,
    expertsPerToken: 10,
    expertBytes: { '4bit': 7_077_888, '2bit': 3_932_160, mixed: 4_980_736 },
    denseBytes: 5_516_028_032,
    residentBytes: 5_516_028_032,
    // The repository also holds an image encoder, which comes with its shard and is not kept.
    downloadBytes: 223_860_768_352,
    shards: 46,
    largestShardBytes: MLX_SHARD_BYTES,
    kvBytesPerToken: 30_720,
    stateBytes: 188_743_680 + 6_635_520,
    contextLength: 262_144,
    hiddenSize: 4_096,
  },
  {
    id: 'qwen3.5-35b',
    title: 'Qwen3.5 35B-A3B',
    repo: 'mlx-community/Qwen3.5-35B-A3B-4bit',
    goodFor: 'quick answers, code and tool calls on 16 GB, 201 languages',
    license: 'Apache-2.0',
    modelType: 'qwen3_5_moe',
    routedLayers: 40,
    experts: 256,
    expertsPerToken: 8,
    expertBytes: { '4bit': 1_769_472, '2bit': 983_040, mixed: 1_245_184 },
    denseBytes: 1_389_396_096,
    residentBytes: 1_389_396_096,
    downloadBytes: 19_508_789_376,
    shards: 4,
    largestShardBytes: MLX_SHARD_BYTES,
    kvBytesPerToken: 20_480,
    stateBytes: 62_914_560 + 2_949_120,
    contextLength: 262_144,
    hiddenSize: 2_048,
  },
  {
    id: 'qwen3-235b',
    title: 'Qwen3 235B-A22B Instruct 2507',
    repo: 'mlx-community/Qwen3-235B-A22B-Instruct-2507-4bit',
    goodFor: 'chat, code and long texts, answers without thinking first',
    license: 'Apache-2.0',
    modelType: 'qwen3_moe',
    routedLayers: 94,
    experts: 128,
    expertsPerToken: 8,
    expertBytes: { '4bit': 10_616_832, '2bit': 5_898_240, mixed: 7_471_104 },
    denseBytes: 4_524_235_776,
    residentBytes: 4_524_235_776,
    downloadBytes: 132_265_958_400,
    shards: 26,
    largestShardBytes: MLX_SHARD_BYTES,
    kvBytesPerToken: 192_512,
    stateBytes: 0,
    contextLength: 262_144,
    hiddenSize: 4_096,
  },
  {
    id: 'deepseek-v3-0324',
    title: 'DeepSeek V3 0324',
    repo: 'mlx-community/DeepSeek-V3-0324-4bit',
    goodFor: 'chat, code and mathematics, answers without thinking first',
    license: UNKNOWN_LICENSE,
    modelType: 'deepseek_v3',
    routedLayers: 58,
    experts: 256,
    expertsPerToken: 8,
    expertBytes: { '4bit': 24_772_608, '2bit': 13_762_560, mixed: 17_432_576 },
    denseBytes: 9_783_169_024,
    // kv_b_proj is kept as two dense 16-bit halves.
    residentBytes: 9_783_169_024 + 61 * 33_554_432,
    downloadBytes: 377_606_852_608,
    shards: 88,
    largestShardBytes: MLX_SHARD_BYTES,
    kvBytesPerToken: 70_272,
    stateBytes: 0,
    contextLength: 163_840,
    hiddenSize: 7_168,
  },
  {
    id: 'kimi-k2',
    title: 'Kimi K2 Instruct',
    repo: 'mlx-community/Kimi-K2-Instruct-4bit',
    goodFor: 'agents, tool calls and code, answers without thinking first',
    license: 'modified MIT',
    modelType: 'kimi_k2',
    routedLayers: 60,
    experts: 384,
    expertsPerToken: 8,
    expertBytes: { '4bit': 24_772_608, '2bit': 13_762_560, mixed: 17_432_576 },
    denseBytes: 6_832_672_768,
    residentBytes: 6_832_672_768 + 61 * 16_777_216,
    downloadBytes: 577_593_561_088,
    shards: 180,
    largestShardBytes: MLX_SHARD_BYTES,
    kvBytesPerToken: 70_272,
    stateBytes: 0,
    contextLength: 131_072,
    hiddenSize: 7_168,
  },
  ...MORE_MODELS,
  {
    id: 'tiny',
    title: 'Tiny demonstration model',
    // Served by the bundled hub, through the same code as the others.
    repo: 'flashmoe/tiny',
    goodFor: 'seeing that all of it works, in seconds, it knows next to nothing',
    license: 'MIT',
    modelType: 'qwen3_5_moe',
    routedLayers: 8,
    experts: 32,
    expertsPerToken: 8,
    expertBytes: { '4bit': 32_768, '2bit': 16_384, mixed: 32_768 },
    denseBytes: 2_548_736,
    residentBytes: 2_548_736,
    downloadBytes: 9_669_263,
    shards: 3,
    largestShardBytes: 3_430_531,
    kvBytesPerToken: 1_024,
    stateBytes: 393_216 + 36_864,
    contextLength: 4_096,
    hiddenSize: 256,
  },
];

/** Throws ERR_UNKNOWN_MODEL listing what is known. */
export function catalogEntry(id: string): CatalogEntry {
  const entry = CATALOG.find((candidate) => candidate.id === id.toLowerCase());
  if (entry) return entry;
  throw new FlashmoeError(
    'ERR_UNKNOWN_MODEL',
    `there is no model ${JSON.stringify(id)}${like(id)}`,
    { hint: wayTo(id) },
  );
}

/** Those that begin with the same word: whoever types `qwen` or `deepseek:671b` means one of them. */
function like(id: string): string {
  const word = /^[a-z]+/.exec(id.toLowerCase())?.[0] ?? '';
  const near = CATALOG.filter((entry) => word.length > 2 && entry.id.startsWith(word));
  return near.length === 0 ? '' : `; did you mean one of ${near.map((e) => e.id).join(', ')}?`;
}

function wayTo(id: string): string {
  const repo = repoOfName(id);
  if (repo === null) {
    return '`flashmoe models` says what each is good for; `--repo org/name` takes another repository of a supported family';
  }
  return `nothing of it is here; \`flashmoe setup --repo ${repo}\` begins it`;
}

/** `org--name` is how folders of repositories are called. */
function repoOfName(id: string): string | null {
  const [owner, name, more] = id.split('--');
  return owner && name && more === undefined ? `${owner}/${name}` : null;
}

/** What provisions a model that isn't here, whatever it was called. */
export function setupCommandFor(name: string): string {
  if (CATALOG.some(({ id }) => id === name)) return `flashmoe setup ${name}`;
  const repo = name.includes('/') ? name : repoOfName(name);
  return repo === null ? 'flashmoe models' : `flashmoe setup --repo ${repo}`;
}

/** The entry whose repository this is, letter case aside as on the hub. */
export function entryForRepo(repo: string): CatalogEntry | null {
  return CATALOG.find((entry) => entry.repo.toLowerCase() === repo.toLowerCase()) ?? null;
}

/** Letters and digits, with single separators inside, as the hub allows them: safe as a folder's name. */
const REPO_PART = /^[A-Za-z0-9](?:[A-Za-z0-9]|[._-](?![.-]|$)|_(?!$))*$/;

/**
 * Model id, and with it folder name, of `org/name`: a catalogue id, or both parts in lower case, since file
 * systems may not tell cases apart; behind them what `file` chooses among GGUF files. Throws ERR_USAGE for anything else.
 */
export function modelIdForRepo(repo: string, file: string | null = null): string {
  const parts = repo.split('/');
  const isSafe = parts.every((part) => part.length <= 96 && REPO_PART.test(part));
  if (parts.length !== 2 || !isSafe) {
    throw new FlashmoeError('ERR_USAGE', `${JSON.stringify(repo)} is no repository name`, {
      subject: '--repo',
      hint: 'give it as `org/name`, for example `--repo mlx-community/Qwen3.5-35B-A3B-4bit`',
    });
  }
  const id = entryForRepo(repo)?.id ?? parts.join('--').toLowerCase();
  if (file === null) return id;
  // Several files of one repository may stand side by side.
  const name = file
    .toLowerCase()
    .replace(/^.*\//, '')
    .replace(/(-\d{5}-of-\d{5})?\.gguf$/, '')
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '')
    .slice(0, 80);
  return name === '' ? `${id}--gguf` : `${id}--${name}`;
}
