// Sorts the lines of `perf report --sort dso,symbol` into what a person would call the costs.

const KINDS = [
  ['sha256', /compress_|sha256/i],
  ['requantiser', /requantise/],
  ['kernel, sockets', /\[k\] .*(tcp|skb|sock|inet|_copy_to_iter|ip_|net_|loopback|softirq)/],
  [
    'kernel, files',
    /\[k\] .*(ext4|xfs|btrfs|jbd2|folio|filemap|page|iomap|es_|xas_|writeback|copy_|blk|bio)/,
  ],
  ['kernel, scheduling and the rest', /\[k\]/],
  ['copies in memory', /memmove|memcpy/],
  ['JavaScript and Node', /./],
];

/** [name, percent of all samples], largest first. */
export function costs(report) {
  const sums = new Map();
  for (const line of report.split('\n')) {
    const found = /^\s*([\d.]+)%\s+(.*)$/.exec(line);
    if (found === null) continue;
    const [name] = KINDS.find(([, pattern]) => pattern.test(found[2]));
    sums.set(name, (sums.get(name) ?? 0) + Number(found[1]));
  }
  return [...sums].sort((a, b) => b[1] - a[1]);
}
