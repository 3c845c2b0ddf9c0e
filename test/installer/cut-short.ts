// A setup from a hub over HTTP that is killed once so many bytes of weights have been sent, and begun again.

import { homePaths, type ModelPaths } from '../../src/base/paths.js';
import type { Quant } from '../../src/models/quant.js';
import { readJournal } from '../../src/store/journal.js';
import { installationPaths } from '../../src/store/model-files.js';
import { rangedWork } from '../../src/store/transfer-mode.js';
import { reduceJournal } from '../../src/store/state.js';
import { readStoredPlan } from '../../src/store/stored-plan.js';
import { rangesFrom } from '../../src/repack/write-plan-ranges.js';
import { FaultHub } from '../helpers/hub/fault-hub.js';
import type { Job } from './programs/provision.js';
import { begin } from './provisioned.js';

export interface CutShort {
  /** True when the last files were made before anybody killed it. */
  finished: boolean;
  /** Ranges of weights it asked for; `sha256` is the shard's. */
  ranges: { sha256: string; start: number; end: number }[];
  stderr: string;
}

export class KilledSetup {
  /** Bytes of weights that all runs were sent. */
  sent = 0;

  private constructor(
    readonly hub: FaultHub,
    readonly home: string,
    readonly quant: Quant,
    readonly kept: Pick<Job, 'keepSource' | 'calibration' | 'size'>,
  ) {}

  static async of(
    repo: string,
    home: string,
    quant: Quant,
    kept: Pick<Job, 'keepSource' | 'calibration' | 'size'> = {},
  ): Promise<KilledSetup> {
    return new KilledSetup(await FaultHub.start(repo, 'flashmoe/tiny'), home, quant, kept);
  }

  get paths(): ModelPaths {
    return installationPaths(homePaths(this.home), 'tiny', this.quant);
  }

  /** Runs until `bytes` of weights were sent and `laterMs` have passed; null: to the end. */
  async run(
    bytes: number | null,
    laterMs = 0,
    env: Record<string, string> = {},
  ): Promise<CutShort> {
    const { hub, home, quant, kept } = this;
    const job = { home, folder: null, quant, questions: [], ...kept };
    const program = begin(job, { HF_ENDPOINT: hub.endpoint, HF_TOKEN: '', ...env });
    let [sent, isDying] = [0, false];
    hub.reset();
    hub.rule({
      on: 'cdn',
      fault: ({ body, send }) => {
        sent += body.length;
        this.sent += body.length;
        send();
        if (bytes === null || sent < bytes || isDying) return;
        isDying = true;
        setTimeout(() => program.process.kill('SIGKILL'), laterMs);
      },
    });
    let finished = false;
    for (;;) {
      const line = await program.line().catch(() => null);
      if (line === null) break;
      const event = JSON.parse(line) as { type: string; step?: string; status?: string };
      finished ||= event.step === 'finish' && event.status !== 'started';
    }
    await program.ended;
    const ranges = hub.log.flatMap(({ side, path, range }) =>
      side === 'cdn' && range !== null ? [{ sha256: path.split('/').at(-1) ?? '', ...range }] : [],
    );
    return { finished, ranges, stderr: program.stderr() };
  }

  /** What is left to fetch, as its journal says; null before there is one. */
  async left(): Promise<CutShort['ranges'] | null> {
    const [journal, stored] = [
      await readJournal(this.paths.journal),
      await readStoredPlan(this.paths.plan),
    ];
    if (journal === null || stored === null) return null;
    const { writes, placed } = rangedWork(stored.pack, reduceJournal(journal.entries));
    const hashes = new Map(stored.pack.shards.map(({ path, sha256 }) => [path, sha256]));
    return [...rangesFrom(writes.runs, placed?.at ?? 0, [], Infinity)].map(
      ({ shard, start, end }) => ({ sha256: hashes.get(shard) ?? '', start, end }),
    );
  }
}
