// What the application layer is given of the outside: the command line's context has it, and so may any program's.

import type { Host } from '../base/host.js';
import type { HomePaths } from '../base/paths.js';

export interface AppContext {
  readonly host: Host;
  /** Of flashmoe: told to the hub, and bound to the states of prompts. */
  readonly version: string;
  readonly home: HomePaths;
  readonly signal: AbortSignal;
  /** What the user should know, in a sentence. */
  note(line: string): void;
}
