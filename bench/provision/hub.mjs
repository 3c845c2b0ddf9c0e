// The hub of the benchmark, a process of its own: Hub API, ranges, and a count of what it sent. As cheap as it gets: bodies
// are views of one block of memory. Usage: node hub.mjs GIGABYTES [BYTES_PER_SECOND [original]]; prints one line of JSON.
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { bytesOf, makeRepository } from './model.mjs';

const REPO = 'bench/random';
const COMMIT = 'c'.repeat(40);
const WRITE_BYTES = 1 << 20;

const [gigabytes, limit] = process.argv.slice(2).map(Number);
const files = makeRepository(gigabytes, process.argv[4] === 'original');
let sent = 0;
/** With a limit: when the next write of any connection may go. */
let free = performance.now();

async function turn(bytes) {
  if (!(limit > 0)) return;
  const now = performance.now();
  const at = Math.max(now, free);
  free = at + (bytes * 1000) / limit;
  if (at - now > 1) await sleep(at - now);
}

/** Views of the file's bytes, at the limit's pace, counted when the system has taken them. */
async function send(response, file, start, end) {
  const most = limit > 0 ? 64 << 10 : WRITE_BYTES;
  const closed = new Promise((resolve) => response.once('close', resolve));
  for (let at = start; at < end && !response.destroyed; at += most) {
    const stop = Math.min(end, at + most);
    await turn(stop - at);
    for (const piece of bytesOf(file, at, stop)) {
      const taken = new Promise((resolve) => {
        response.write(piece, (error) => {
          if (!error) sent += piece.length;
          resolve();
        });
      });
      // A client that goes away ends its body and nothing else.
      await Promise.race([taken, closed]);
    }
  }
  response.end();
}

function json(response, value) {
  const body = Buffer.from(JSON.stringify(value));
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}

const listing = files.map(({ path, size, sha256, oid, isLarge }) => ({
  ...{ type: 'file', path, size, oid },
  ...(isLarge ? { lfs: { oid: sha256, size, pointerSize: 134 } } : {}),
}));

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://any');
  if (pathname === '/sent') return json(response, { sent, cpu: process.cpuUsage() });
  if (pathname.startsWith(`/api/models/${REPO}/tree/`)) return json(response, listing);
  if (pathname.startsWith(`/api/models/${REPO}`)) return json(response, { id: REPO, sha: COMMIT });
  const file = files.find(({ path }) => pathname === `/${REPO}/resolve/${COMMIT}/${path}`);
  if (file === undefined) return response.writeHead(404).end();
  const { size, sha256 } = file;
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const start = Number(range?.[1] ?? 0);
  const end = range?.[2] ? Math.min(size, Number(range[2]) + 1) : size;
  response.writeHead(range ? 206 : 200, {
    'content-type': 'application/octet-stream',
    'content-length': end - start,
    'accept-ranges': 'bytes',
    etag: `"${sha256}"`,
    ...(range ? { 'content-range': `bytes ${start}-${end - 1}/${size}` } : {}),
  });
  void send(response, file, start, end);
});
server.listen(0, '127.0.0.1', () => {
  const endpoint = `http://127.0.0.1:${server.address().port}`;
  const bytes = files.filter(({ isLarge }) => isLarge).reduce((sum, { size }) => sum + size, 0);
  const shards = files
    .filter(({ isLarge }) => isLarge)
    .map(({ path, sha256 }) => ({
      path,
      sha256,
      url: `${endpoint}/${REPO}/resolve/${COMMIT}/${path}`,
    }));
  console.log(JSON.stringify({ endpoint, repo: REPO, bytes, shards }));
});
process.on('disconnect', () => process.exit());
