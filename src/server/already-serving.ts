// Whether a port that is taken is taken by a server of ours. Its health is open to everybody, also where answers need a key.

const PATIENCE_MS = 2_000;

/** `model` null: that server has none yet. null: nobody answers on this machine, or it is something else. */
export async function servedAt(port: number): Promise<{ model: string | null } | null> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/health`, {
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const health = (await answer.json()) as { status?: unknown; model?: unknown };
    const { status, model } = health;
    if (typeof status !== 'string' || (model !== null && typeof model !== 'string')) return null;
    return { model };
  } catch {
    return null;
  }
}
