// What `$ref` names inside of one schema: pointers, anchors, and the same behind the schema's own `$id`. Nothing is
// fetched.

import { isObject } from '../model-files.js';

export class References {
  readonly #anchors = new Map<string, unknown>();
  readonly #id: string | null;
  /** Inside of these, references are of another resource. */
  readonly #foreign = new Set<unknown>();

  constructor(private readonly root: unknown) {
    const id = isObject(root) ? (root.$id ?? root.id) : null;
    this.#id = typeof id === 'string' ? id.replace(/#.*$/, '') : null;
    this.#walk(root, false, true);
  }

  /** Undefined for what isn't there. @param from the schema that has the reference */
  find(from: unknown, reference: string): unknown {
    if (this.#foreign.has(from)) return undefined;
    const at = reference.indexOf('#');
    const document = at < 0 ? reference : reference.slice(0, at);
    if (document !== '' && document !== this.#id) return undefined;
    const fragment = at < 0 ? '' : reference.slice(at + 1);
    if (fragment === '') return this.root;
    if (!fragment.startsWith('/')) return this.#anchors.get(fragment);
    return this.#follow(fragment);
  }

  #follow(pointer: string): unknown {
    let value: unknown = this.root;
    for (const piece of pointer.slice(1).split('/')) {
      const name = decoded(piece).replaceAll('~1', '/').replaceAll('~0', '~');
      if (Array.isArray(value)) value = value[Number(name)];
      else if (isObject(value) && Object.hasOwn(value, name)) value = value[name];
      else return undefined;
      // Names a place in a resource of its own.
      if (this.#foreign.has(value)) return undefined;
    }
    return value;
  }

  /** Without recursion: a schema may be nested deeply. */
  #walk(value: unknown, isForeign: boolean, isRoot: boolean): void {
    const left: [unknown, boolean, boolean][] = [[value, isForeign, isRoot]];
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const [at, wasForeign, first] = next;
      if (typeof at !== 'object' || at === null) continue;
      let foreign = wasForeign;
      if (isObject(at) && !first) {
        const id = at.$id ?? at.id;
        if (typeof id === 'string' && id.startsWith('#')) this.#anchors.set(id.slice(1), at);
        else if (typeof at.$id === 'string') foreign = true;
      }
      if (foreign) this.#foreign.add(at);
      if (isObject(at) && typeof at.$anchor === 'string' && !foreign) {
        this.#anchors.set(at.$anchor, at);
      }
      for (const inner of Object.values(at)) left.push([inner, foreign, false]);
    }
  }
}

function decoded(piece: string): string {
  try {
    return decodeURIComponent(piece);
  } catch {
    // Not encoded: it names itself.
    return piece;
  }
}
