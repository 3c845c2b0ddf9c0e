import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

interface Source {
  /** Relative to the package, with forward slashes. */
  path: string;
  text: string;
  /** Of a module in this tree: its path; of a package: its name. */
  imports: string[];
}

function filesBelow(folder: string, accept: RegExp): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && accept.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'));
}

function readSource(path: string): Source {
  const text = readFileSync(join(ROOT, path), 'utf8');
  const imports = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => {
    if (fileName.startsWith('.')) {
      return posix.join(posix.dirname(path), fileName).replace(/\.js$/, '.ts');
    }
    const [scope = '', name = ''] = fileName.split('/');
    return scope.startsWith('@') ? `${scope}/${name}` : scope;
  });
  return { path, text, imports };
}

const sources = filesBelow('src', /\.tsx?$/).map(readSource);

/** `src/hub/client.ts` lives in `hub`, `src/service.ts` is a room of its own. */
function roomOf(path: string): string {
  return (path.split('/')[1] ?? '').replace(/\.tsx?$/, '');
}

/** Rooms and single files that each room may import; its own files always. `base` is open to all. */
const MAY_IMPORT: Record<string, string[]> = {
  base: [],
  machine: [],
  models: [],
  service: [],
  'service-command': ['service'],
  'service-manager': ['service', 'launchd', 'systemd'],
  addon: [],
  hub: [],
  repack: ['addon', 'models'],
  engine: ['addon', 'models'],
  store: ['addon', 'hub', 'machine', 'models', 'repack'],
  jobs: ['hub', 'models', 'store'],
  transfer: ['addon', 'hub', 'jobs', 'repack', 'store'],
  share: ['addon', 'hub', 'repack', 'store', 'transfer'],
  installer: [
    'addon',
    'check',
    'engine',
    'hub',
    'jobs',
    'machine',
    'models',
    'repack',
    'settings',
    'share',
    'store',
    'transfer',
  ],
  // What programs and the command line share.
  application: [
    'addon',
    'chat',
    'connect',
    'doctor',
    'engine',
    'hub',
    'installer',
    'jobs',
    'machine',
    'measure',
    'models',
    'repack',
    'server',
    'service',
    'service-command',
    'service-manager',
    'settings',
    'share',
    'store',
    'transfer',
  ],
  launchd: ['service'],
  systemd: ['service'],
  server: ['engine/types'],
  // Values only: what an option may be, never what is done with it.
  settings: ['models/quant', 'engine/backend', 'addon/types', 'server/log-level'],
  connect: [],
  chat: ['engine/types'],
  eval: ['engine/types'],
  check: ['engine/types', 'models', 'store/receipt'],
  measure: ['addon', 'engine'],
  doctor: ['addon', 'hub', 'machine', 'models', 'service', 'settings', 'store/receipt'],
  ui: [
    'application/setup-runner',
    'application/show',
    'chat',
    'jobs/events',
    'jobs/progress',
    'jobs/run-view',
    'models',
    'store/model-state',
    'store/receipt',
    'store/requantisation',
  ],
  cli: [
    'addon',
    'application',
    'chat',
    'connect',
    'doctor',
    'eval',
    'engine',
    'hub',
    'installer',
    'jobs',
    'machine',
    'measure',
    'models',
    'repack',
    'server',
    'service',
    'service-command',
    'service-manager',
    'settings',
    'share',
    'store',
    'transfer',
    'ui',
  ],
  index: ['*'],
};

/** Packages with one home: the folders (or files) that may import them. */
const PACKAGE_HOMES: Record<string, string[]> = {
  react: ['src/ui/ink/'],
  ink: ['src/ui/ink/'],
  got: ['src/hub/'],
  'p-retry': ['src/hub/'],
  '@huggingface/hub': ['src/hub/'],
  '@huggingface/jinja': ['src/engine/'],
  '@huggingface/tokenizers': ['src/engine/'],
  commander: ['src/cli/'],
  plist: ['src/launchd/'],
  'smol-toml': ['src/connect/'],
  yaml: ['src/connect/'],
  'jsonc-parser': ['src/connect/'],
  // Its validators are made and run in the thread of a grammar only.
  'ajv/dist/2020.js': ['src/engine/grammar/check.ts'],
  marked: ['src/ui/'],
};

function offenders(accepts: (source: Source) => string[]): string[] {
  return sources.flatMap((source) => accepts(source).map((what) => `${source.path}: ${what}`));
}

function matches(pattern: RegExp, exempt: RegExp): string[] {
  return sources
    .filter(({ path }) => !exempt.test(path))
    .flatMap(({ path, text }) =>
      withoutComments(text)
        .split('\n')
        .filter((line) => pattern.test(line))
        .map((line) => `${path}: ${line.trim()}`),
    );
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '');
}

/** Ways along imports that end where they began, one for each import that closes one. */
function circlesOf(leadsTo: ReadonlyMap<string, readonly string[]>): string[] {
  const circles: string[] = [];
  const finished = new Set<string>();
  const walk = (at: string, way: readonly string[]): void => {
    if (way.includes(at)) circles.push([...way.slice(way.indexOf(at)), at].join(' > '));
    if (way.includes(at) || finished.has(at)) return;
    for (const next of leadsTo.get(at) ?? []) walk(next, [...way, at]);
    finished.add(at);
  };
  for (const at of leadsTo.keys()) walk(at, []);
  return circles;
}

describe('the architecture', () => {
  it('has a rule for every room', () => {
    const rooms = new Set(sources.map(({ path }) => roomOf(path)));
    expect([...rooms].filter((room) => !(room in MAY_IMPORT))).toEqual([]);
  });

  it('says at the top of each file of over 400 lines why it is one', () => {
    const native = [
      ...filesBelow('native', /\.(cpp|h|mm)$/),
      ...filesBelow('metal', /\.(metal|h)$/),
    ]
      .filter((path) => !path.startsWith('native/build/'))
      .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
    const long = [...sources, ...native].filter(({ text }) => text.split('\n').length > 401);
    const silent = long.filter(
      ({ text }) => !text.split('\n').slice(0, 12).join('\n').includes('Over 400 lines: '),
    );
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  it('lets imports point one way only', () => {
    const wrong = offenders(({ path, imports }) => {
      const room = roomOf(path);
      const allowed = [...(MAY_IMPORT[room] ?? []), 'base', room];
      return imports.filter((target) => {
        if (!target.startsWith('src/')) return target.startsWith('..');
        const file = target.replace(/^src\//, '').replace(/\.tsx?$/, '');
        return (
          !allowed.includes('*') && !allowed.includes(roomOf(target)) && !allowed.includes(file)
        );
      });
    });
    expect(wrong).toEqual([]);
  });

  it('knows each room below only: no two rooms lead to each other', () => {
    const leadsTo = new Map(
      Object.entries(MAY_IMPORT).map(([room, allowed]) => [
        room,
        allowed.filter((each) => each !== '*').map((each) => each.split('/')[0] ?? ''),
      ]),
    );
    expect(circlesOf(leadsTo)).toEqual([]);
  });

  it('has no circle of files that import each other', () => {
    const known = new Set(sources.map(({ path }) => path));
    const leadsTo = new Map(
      sources.map(({ path, imports }) => [
        path,
        imports.map((to) => (known.has(to) ? to : to.replace(/\.ts$/, '.tsx'))),
      ]),
    );
    expect(circlesOf(leadsTo)).toEqual([]);
  });

  it('deletes through one door, which asks whether a file is ours', () => {
    // What a module made itself moments ago, under a name that nobody else has: temporary folders and names, locks.
    const own =
      /^src\/(base\/(owned-files|atomic-file|file-lock|log-files|temporary-folder)|engine\/logits|installer\/steps\/build-engine|launchd\/index|systemd\/index)\.ts$/;
    expect(matches(/\b(rm|rmdir|unlink)(Sync)?\(/, own)).toEqual([]);
  });

  it('has one barrel, the package entry, which nothing inside imports', () => {
    expect(offenders(({ imports }) => imports.filter((to) => to === 'src/index.ts'))).toEqual([]);
    expect(matches(/^export \* from/, /^src\/index\.ts/)).toEqual([]);
  });

  it('keeps each package in the one folder that needs it', () => {
    const wrong = offenders(({ path, imports }) =>
      imports.filter((name) => PACKAGE_HOMES[name]?.every((home) => !path.startsWith(home))),
    );
    expect(wrong).toEqual([]);
  });

  it('plans without files, network or native code', () => {
    const pure =
      /^src\/(models\/.*|.*\/(plan|state|range-plan|reconcile|transfer-mode|schedule|remaining-work|expected-journal|requantisation|check-figures|passage)\.ts)$/;
    const impure = /^(node:)?(fs|net|http|https|child_process|worker_threads|dgram|dns|tls)(\/|$)/;
    const wrong = sources
      .filter(({ path }) => pure.test(path))
      .flatMap(({ path, imports }) =>
        imports
          .filter((name) => impure.test(name) || name === 'src/addon/load.ts' || name === 'got')
          .map((name) => `${path}: ${name}`),
      );
    expect(wrong).toEqual([]);
  });

  it('asks process, os and clocks in one place below the command line', () => {
    // The probes hold the text of programs that another process runs.
    const exempt =
      /^src\/(base\/(host|process-usage)\.ts|addon\/((backend|measure)-)?probe\.ts|cli\/)/;
    const wrong = matches(
      /(?<![\w.'"`-])process\.(?!exit\b)\w|\bDate\.now\b|new Date\(\)|performance\.now|console\./,
      exempt,
    );
    expect(wrong).toEqual([]);
    const os = offenders(({ path, imports }) =>
      exempt.test(path) ? [] : imports.filter((name) => /^(node:)?(os|process)$/.test(name)),
    );
    expect(os).toEqual([]);
  });

  it('loads native code through one door', () => {
    expect(matches(/createRequire|process\.dlopen|\brequire\(/, /^src\/addon\//)).toEqual([]);
  });

  it('knows families by name in models only', () => {
    const names = readdirSync(join(ROOT, 'src/models/families')).map((n) => n.replace('.ts', ''));
    expect(names.length).toBeGreaterThan(0);
    const family = new RegExp(names.join('|'));
    expect(matches(family, /^src\/models\//)).toEqual([]);
    const native = filesBelow('native', /\.(cpp|h|hpp|mm|c)$/).filter((path) =>
      new RegExp(`${family.source}|qwen|deepseek|kimi`, 'i').test(
        readFileSync(join(ROOT, path), 'utf8'),
      ),
    );
    expect(native).toEqual([]);
  });

  it('keeps Node and Objective-C out of the native core', () => {
    const wrong = filesBelow('native', /\.(cpp|h|hpp)$/)
      .filter((path) => !path.startsWith('native/addon/'))
      .filter((path) =>
        /#\s*include\s*[<"](napi|node_api|uv)\.h|#\s*import\b|@autoreleasepool/.test(
          readFileSync(join(ROOT, path), 'utf8'),
        ),
      );
    expect(wrong).toEqual([]);
  });
});
