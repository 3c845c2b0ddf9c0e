// Where nobody can be asked, a large download needs to have been agreed to beforehand.

import { FlashmoeError } from '../base/errors.js';
import { formatBytesBoth } from '../base/format.js';
import type { PlanSummary } from '../jobs/events.js';
import { commandLine } from './command-line.js';
import { setupArguments, type SetupCommand } from '../settings/setup-options.js';

export const ASK_ABOVE_BYTES = 1_000_000_000;

/** Throws ERR_CONFIRM_NEEDED with the very command that agrees. Pure. */
export function requireAgreement(plan: PlanSummary, command: SetupCommand): void {
  const bytes = plan.downloadBytes - plan.doneBytes;
  if (bytes <= ASK_ABOVE_BYTES) return;
  throw new FlashmoeError(
    'ERR_CONFIRM_NEEDED',
    `${plan.model} is ${formatBytesBoth(bytes)} to download; nothing was written`,
    { hint: `\`${commandLine(setupArguments({ ...command, yes: true }))}\` agrees to that` },
  );
}
