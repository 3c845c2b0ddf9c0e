// One file of one commit as byte ranges. The signed CDN address is resolved once and used until it
// expires; every answer is judged before a byte of it is handed on.

import { FlashmoeError } from '../base/errors.js';
import { mayPass, saidByStorage, transient } from './answer-errors.js';
import { decodedBody, isEncoded } from './content-encoding.js';
import { isHtmlType, sniff, SNIFF_BYTES } from './content-sniff.js';
import type { HttpAnswer } from './http.js';
import type { HubOrigin, LinkHeaders } from './origin.js';
import { judgeRangeAnswer } from './range-answer.js';
import { rangeHeader, type ByteRange } from './range-plan.js';
import { encodePath } from './repo-path.js';
import { Transient } from './retry.js';
import type { ByteSource, HubTask, RepoFile, RepoListing } from './types.js';

/** The server sent the whole file where a range in its middle was asked for; nothing was read from it. */
export class RangeIgnored extends Transient {}

/** Git LFS pointers are shorter by their specification. */
const MOST_POINTER = 1024;

const ignore = () => undefined;

export class FileSource implements ByteSource {
  readonly #far: HubOrigin;
  /** Asked first, until a fresh resolve is wanted; null: not there. */
  #near: HubOrigin | null;
  readonly #listing: RepoListing;
  readonly #file: RepoFile;
  #cdn: { url: URL; etag: string | null } | null = null;
  /** Requests carry the CDN's validator, as long as there is one at all. */
  #isGuarded = true;
  /** The Hub is being asked where the bytes are; who comes meanwhile waits for that answer. */
  #resolving: Promise<void> | null = null;

  constructor(
    origin: HubOrigin,
    listing: RepoListing,
    file: RepoFile,
    near: HubOrigin | null = null,
  ) {
    this.#far = origin;
    this.#near = near;
    this.#listing = listing;
    this.#file = file;
  }

  /**
   * The bytes of `range`, in order: never more than asked for, and Transient at the end if there were
   * fewer. An empty file is asked for with null. Throws FlashmoeError where waiting can't help.
   */
  async open(range: ByteRange | null, task: HubTask): Promise<AsyncGenerator<Buffer, void, void>> {
    const answer = await this.#request(range, task);
    let isGood = false;
    try {
      await this.#check(answer, range, task);
      isGood = true;
    } catch (error) {
      if (error instanceof Transient) await this.#refuseShort(answer);
      throw error;
    } finally {
      if (!isGood) answer.discard();
    }
    const length = range === null ? 0 : range.end - range.start;
    const body = decodedBody(answer, this.#file.path);
    const content = range?.start === 0 ? this.#sniffed(body, answer.url) : body;
    return this.#exactly(content, length, answer, task);
  }

  /** Resolves afresh next time, over a new address. */
  forget(): void {
    this.#cdn = null;
    this.#near = null;
  }

  get #origin(): HubOrigin {
    return this.#near ?? this.#far;
  }

  async #request(range: ByteRange | null, task: HubTask): Promise<HttpAnswer> {
    while (this.#cdn === null && this.#resolving !== null) await this.#resolving;
    if (this.#cdn !== null) return await this.#ask(range, task);
    const answer = this.#ask(range, task);
    const settled = answer.then(ignore, ignore).then(() => {
      if (this.#resolving === settled) this.#resolving = null;
    });
    this.#resolving = settled;
    return await answer;
  }

  async #ask(range: ByteRange | null, task: HubTask): Promise<HttpAnswer> {
    const { path } = this.#file;
    const headers: Record<string, string> = range === null ? {} : { range: rangeHeader(range) };
    if (this.#cdn !== null) {
      const { url, etag } = this.#cdn;
      if (range !== null && etag !== null && this.#isGuarded) headers['if-range'] = etag;
      return await this.#origin.send({ url, headers, subject: path, signal: task.signal });
    }
    const { repo, commit, revision } = this.#listing;
    const url = new URL(`${this.#origin.endpoint}/${repo}/resolve/${commit}/${encodePath(path)}`);
    const check = (links: LinkHeaders) => this.#checkPin(links);
    const asked = { repo, revision, path };
    const { answer, links } = await this.#origin.get({ url, headers, asked, check }, task);
    try {
      check(links);
    } catch (error) {
      answer.discard();
      throw error;
    }
    if (!this.#origin.isOwn(answer.url)) this.#cdn = { url: answer.url, etag: null };
    return answer;
  }

  /** The Hub's word on commit, size and hash against the listing's: a difference is a hard stop. */
  #checkPin(links: LinkHeaders): void {
    const { path, size, sha256, gitSha1 } = this.#file;
    const { commit } = this.#listing;
    const changed = (what: string, listed: string | number, now: string | number) =>
      new FlashmoeError(
        'ERR_REMOTE_CHANGED',
        `${path}: the Hub's ${what} is ${now}, where the listing at commit ${commit} says ${listed}`,
        { subject: path, hint: 'run the command again to plan from a fresh listing' },
      );
    if (links.commit !== null && links.commit !== commit)
      throw changed('commit', commit, links.commit);
    // A proxy that doesn't know the size says 0.
    if (links.size !== null && links.size !== 0 && links.size !== size) {
      throw changed('size', size, links.size);
    }
    // A plain ETag is a validator of whoever answered, of whatever shape, and says nothing about the content.
    const etag = links.linkedEtag?.replace(/^W\//, '').replace(/"/g, '') ?? '';
    const hash = sha256 ?? gitSha1 ?? '';
    if (/^[0-9a-f]+$/.test(etag) && etag.length === hash.length && etag !== hash) {
      throw changed('hash', hash, etag);
    }
  }

  async #check(answer: HttpAnswer, range: ByteRange | null, task: HubTask): Promise<void> {
    const { path, size } = this.#file;
    const { status, headers } = answer;
    await this.#checkCdnStatus(answer);
    if (isHtmlType(headers['content-type'], path)) throw this.#page(answer.url);
    // Before the validator, which such an answer need not carry.
    if (range !== null && status === 416) {
      throw this.#doubt(
        'ERR_RANGE',
        `asked for ${rangeHeader(range)}, got 416 ${headers['content-range'] ?? ''}`,
      );
    }
    this.#checkCdnEtag(answer, task);
    if (range === null) return;
    const verdict = judgeRangeAnswer(range, size, {
      status,
      contentRange: headers['content-range'],
      contentLength: headers['content-length'],
      encoded: isEncoded(answer),
    });
    if (verdict.use !== 'nothing') return;
    // That may be the answer of another node to the validator of the first: the next request has none.
    if (verdict.kind === 'ignored') this.#isGuarded = false;
    const doubt = this.#doubt('ERR_RANGE', verdict.reason);
    throw verdict.kind === 'ignored' ? new RangeIgnored(doubt.failure, doubt.advice) : doubt;
  }

  async #checkCdnStatus(answer: HttpAnswer): Promise<void> {
    const { status } = answer;
    if (status < 300 || status === 416) return;
    const host = answer.url.host;
    // Another connection may have a newer address already.
    if (this.#cdn?.url.href === answer.url.href) this.forget();
    if (status >= 400 && status <= 403) {
      // Not an auth failure: the signed address has had its time, or the storage will never have us.
      const said = await saidByStorage(answer);
      const words = said === '' ? '' : ` (it says ${JSON.stringify(said)})`;
      const why = `${host} refuses the address that the hub gives for it, as one that expired: ${status}${words}`;
      throw this.#doubt('ERR_NETWORK', why, 3);
    }
    if (status === 404 || status === 410) {
      throw this.#doubt('ERR_NOT_FOUND', `${host} no longer has it (${status})`);
    }
    if (mayPass(status)) throw transient(answer, this.#file.path);
    if (status < 400) throw this.#elsewhere(answer.url);
    throw new FlashmoeError('ERR_HTTP', `${this.#file.path}: ${host} answered ${status}`, {
      subject: this.#file.path,
    });
  }

  /**
   * The CDN's validator guards one address only. When it changes, the Hub is asked again what the file is; if that is
   * what it was, the validators are those of several nodes, and only the sha256 of the bytes counts from then on.
   */
  #checkCdnEtag(answer: HttpAnswer, task: HubTask): void {
    if (!this.#isGuarded || this.#cdn === null || answer.url.href !== this.#cdn.url.href) return;
    const etag = answer.headers.etag ?? null;
    if (this.#cdn.etag !== null && etag !== this.#cdn.etag) {
      this.#isGuarded = false;
      const { host } = answer.url;
      const message = `${this.#file.path}: ${host} calls it by several ETags; the sha256 of its bytes decides`;
      task.emit({ type: 'notice', message });
      throw this.#doubt('ERR_REMOTE_CHANGED', `it changed at ${host} while it was fetched`);
    }
    this.#cdn.etag = etag === null || etag.startsWith('W/') ? null : etag;
  }

  async *#sniffed(
    body: AsyncGenerator<Buffer, void, void>,
    from: URL,
  ): AsyncGenerator<Buffer, void, void> {
    let head: Buffer = Buffer.alloc(0);
    for await (const chunk of body) {
      if (head.length >= SNIFF_BYTES) {
        yield chunk;
        continue;
      }
      head = Buffer.concat([head, chunk]);
      if (head.length < SNIFF_BYTES) continue;
      this.#refuseByContent(head, from);
      yield head;
    }
    if (head.length >= SNIFF_BYTES) return;
    this.#refuseByContent(head, from);
    yield head;
  }

  /** A few lines with status 200 in place of a large file say themselves what they are. */
  async #refuseShort(answer: HttpAnswer): Promise<void> {
    const length = Number(answer.headers['content-length'] ?? Infinity);
    if (answer.status !== 200 || length > MOST_POINTER) return;
    const parts: Buffer[] = [];
    for await (const part of answer.body) parts.push(part);
    this.#refuseByContent(Buffer.concat(parts), answer.url);
  }

  #refuseByContent(head: Buffer, from: URL): void {
    const kind = sniff(head.subarray(0, SNIFF_BYTES), this.#file.path);
    if (kind === 'html') throw this.#page(from);
    if (kind === 'lfs-pointer' && this.#file.sha256 !== null) {
      throw new FlashmoeError(
        'ERR_REMOTE_CONTENT',
        `${this.#file.path}: the server sent a Git LFS pointer in place of the file`,
        {
          subject: this.#file.path,
          hint: 'check HF_ENDPOINT: this mirror does not hold the large files',
        },
      );
    }
  }

  async *#exactly(
    body: AsyncGenerator<Buffer, void, void>,
    length: number,
    answer: HttpAnswer,
    task: HubTask,
  ): AsyncGenerator<Buffer, void, void> {
    const { path, size } = this.#file;
    let got = 0;
    try {
      for await (const chunk of body) {
        const room = length - got;
        got += chunk.length;
        if (chunk.length > 0 && room > 0)
          yield chunk.length > room ? chunk.subarray(0, room) : chunk;
        if (got > length) break;
        // With a declared length the end follows at once, and the connection can be used again.
        if (got === length && answer.headers['content-length'] !== String(length)) break;
      }
    } finally {
      answer.discard();
    }
    if (got < length) {
      throw new Transient(
        new FlashmoeError('ERR_NETWORK', `${path}: the body ended ${length - got} bytes early`, {
          subject: path,
          hint: 'run the command again, it continues from there',
        }),
      );
    }
    if (got > length && (answer.status === 206 || length === size)) {
      task.emit({
        type: 'notice',
        message: `${path}: the server sent more than was asked for; the rest was cut off`,
      });
    }
  }

  /** A signed address leads to bytes. One that leads on has moved, or a network in between wants a login. */
  #elsewhere(from: URL): Transient {
    return new Transient(
      new FlashmoeError(
        'ERR_NETWORK',
        `${this.#file.path}: ${from.host} redirects elsewhere (a login page of the network in between?)`,
        { subject: this.#file.path, hint: 'open a browser and log in to the network' },
      ),
    );
  }

  #page(from: URL): Transient {
    // The page's own address may be what the redirect led to.
    this.forget();
    return new Transient(
      new FlashmoeError(
        'ERR_REMOTE_CONTENT',
        `${this.#file.path}: ${from.host} answered with a web page (a login page of the network in between?)`,
        {
          subject: this.#file.path,
          resumable: true,
          hint: 'open a browser and log in to the network',
        },
      ),
    );
  }

  /** Something that a fresh resolve may put right, tried `retries` times and then final. */
  #doubt(
    code: 'ERR_RANGE' | 'ERR_NETWORK' | 'ERR_NOT_FOUND' | 'ERR_REMOTE_CHANGED',
    why: string,
    retries = 1,
  ): Transient {
    this.forget();
    const { path } = this.#file;
    return new Transient(new FlashmoeError(code, `${path}: ${why}`, { subject: path }), {
      retries,
      waitMs: null,
    });
  }
}
