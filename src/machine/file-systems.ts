// File systems that a packed model should not lie on, and what each lacks. Pure.

const EXFAT = 'has no journal, no permissions and no holes in files';
const FAT = 'holds no file above 4 GiB';

const LACKS: Readonly<Record<string, string>> = {
  exfat: EXFAT,
  msdos: FAT,
  vfat: FAT,
  fat32: FAT,
  ntfs: 'keeps no permissions and can only be read on a Mac',
};

/** What a file system, as the system names it, lacks for a model; null when nothing is known against it. */
export function lacksOf(fileSystem: string): string | null {
  return LACKS[fileSystem] ?? null;
}
