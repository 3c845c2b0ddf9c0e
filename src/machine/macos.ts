// What tools of macOS print, as values. Each parser takes what is promised or has long been so, and answers
// null for a text it doesn't know: a changed format must not become a false finding.

/** `sw_vers`: tab-separated lines of names and values. */
export interface MacosVersion {
  /** e.g. 15.5. */
  product: string;
  /** e.g. 24F74. */
  build: string;
  /** Builds of a beta end in a small letter. */
  isBeta: boolean;
}

export function parseSwVers(text: string): MacosVersion | null {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(text)?.[1];
  const product = field('ProductVersion');
  const build = field('BuildVersion');
  if (product === undefined || build === undefined) return null;
  return { product, build, isBeta: /[a-z]$/.test(build) };
}

/** `sysctl vm.swapusage`: bytes in use. */
export function parseSwapUsage(text: string): number | null {
  const found = /used = (\d+(?:\.\d+)?)([KMG])/.exec(text);
  if (found === null) return null;
  const unit = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }[found[2] ?? ''];
  return unit === undefined ? null : Number(found[1]) * unit;
}

/** `sysctl kern.memorystatus_vm_pressure_level`: the kernel's own levels. */
export function parsePressureLevel(text: string): 'normal' | 'warning' | 'critical' | null {
  const level = /:\s*(\d+)\s*$/m.exec(text)?.[1];
  if (level === '1') return 'normal';
  if (level === '2') return 'warning';
  return level === '4' ? 'critical' : null;
}

/** `vm_stat`: what can be had without swapping: free pages, purgeable ones, and those that files can be read back into. */
export function parseVmStat(text: string): number | null {
  const size = /page size of (\d+) bytes/.exec(text)?.[1];
  const pages = (name: string): number | undefined => {
    const found = new RegExp(`^${name}:\\s+(\\d+)\\.`, 'm').exec(text)?.[1];
    return found === undefined ? undefined : Number(found);
  };
  const [free, files] = [pages('Pages free'), pages('File-backed pages')];
  if (size === undefined || free === undefined || files === undefined) return null;
  return Number(size) * (free + files + (pages('Pages purgeable') ?? 0));
}

/** `pmset -g`: settings in use now, by name; a remark in parentheses is left out. */
export function parsePmset(text: string): Map<string, string> {
  const settings = new Map<string, string>();
  for (const line of text.split('\n')) {
    const found = /^ (\S.*?)\s+(\S+)(?:\s+\(.*\))?\s*$/.exec(line);
    if (found) settings.set(found[1] ?? '', found[2] ?? '');
  }
  return settings;
}

/** `pmset -g batt`: its first line; null for a Mac that doesn't say. */
export function parsePowerSource(text: string): 'ac' | 'battery' | null {
  const source = /^Now drawing from '(.+)'/m.exec(text)?.[1];
  if (source === 'AC Power') return 'ac';
  return source === 'Battery Power' ? 'battery' : null;
}

/** `tmutil isexcluded PATH`. */
export function parseIsExcluded(text: string): boolean | null {
  if (/^\[Excluded\]/m.test(text)) return true;
  return /^\[Included\]/m.test(text) ? false : null;
}

/** `diskutil info DEVICE`: lines of `   Name:   value`. */
export function parseDiskutil(text: string): Map<string, string> {
  const facts = new Map<string, string>();
  for (const line of text.split('\n')) {
    const found = /^\s{3}(\S[^:]*):\s+(\S.*?)\s*$/.exec(line);
    if (found) facts.set(found[1] ?? '', found[2] ?? '');
  }
  return facts;
}

/**
 * `system_profiler SPUSBDataType -json` (SPUSBHostDataType since macOS 26): speed of the link to the disk
 * with this BSD name, in the tool's own words, e.g. super_speed_plus.
 */
export function findUsbSpeed(json: string, disk: string): string | null {
  let tree: unknown;
  try {
    tree = JSON.parse(json);
  } catch {
    return null;
  }
  return search(tree, disk, null).speed;
}

function search(
  node: unknown,
  disk: string,
  inherited: string | null,
): { found: boolean; speed: string | null } {
  if (typeof node !== 'object' || node === null) return { found: false, speed: null };
  const fields = node as Record<string, unknown>;
  const own = fields['device_speed'] ?? fields['USBDeviceKeyLinkSpeed'];
  const speed = typeof own === 'string' ? own : inherited;
  if (fields['bsd_name'] === disk) return { found: true, speed };
  for (const child of Object.values(fields)) {
    const below = search(child, disk, speed);
    if (below.found) return below;
  }
  return { found: false, speed: null };
}

/** `scutil --proxy`: what the system is set to for https, without credentials, which it doesn't print. */
export function parseScutilProxy(text: string): string | null {
  const field = (name: string): string | undefined =>
    new RegExp(`^\\s*${name} : (.+)$`, 'm').exec(text)?.[1]?.trim();
  if (field('HTTPSEnable') === '1') return `${field('HTTPSProxy')}:${field('HTTPSPort')}`;
  if (field('ProxyAutoConfigEnable') === '1') return 'a proxy auto-configuration file';
  return null;
}
