import { hubSettings } from '../../hub/settings.js';
import type { Check } from '../check.js';

const id = 'hub.token_valid';

/** Sends the token to the hub's own origin and nowhere else; its owner's name is not kept. */
export const tokenValid: Check = {
  id,
  title: 'whether the hub still takes the token',
  timeoutMs: 15_000,
  async run(context, signal) {
    const { env, homeDirectory } = context.host;
    const userAgent = `flashmoe/${context.version}`;
    const { settings } = await hubSettings({ env, homeDirectory, userAgent });
    if (settings.token === null) {
      return [{ id, severity: 'skip', title: 'no token is set that could be tried' }];
    }
    if (settings.offline) {
      return [{ id, severity: 'skip', title: 'token not tried: offline by choice' }];
    }
    const verdict = await context.tokenVerdict(
      AbortSignal.any([signal, AbortSignal.timeout(8_000)]),
    );
    const { source } = settings.token;
    switch (verdict?.state) {
      case 'valid':
        return [{ id, severity: 'ok', title: `the hub takes the token from ${source}` }];
      case 'refused':
        return [
          {
            id,
            severity: 'fail',
            title: `the hub refuses the token from ${source} (${verdict.status})`,
            why: 'gated repositories cannot be downloaded with it',
            hint: `\`hf auth login\`, or unset ${source}: public repositories need no token`,
          },
        ];
      default: {
        const reason = verdict?.reason ?? 'no answer';
        return [{ id, severity: 'skip', title: `token not tried: ${reason}` }];
      }
    }
  },
};
