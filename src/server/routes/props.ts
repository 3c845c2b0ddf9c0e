import type { ServerContext } from '../context.js';

/** What does not change while a model is loaded, in llama.cpp's names where it has one. */
export function props({ host, version }: ServerContext): Response {
  const { model } = host.engine();
  return Response.json({
    default_generation_settings: { n_ctx: model.contextLength },
    total_slots: model.sessions ?? 1,
    model_alias: model.id,
    build_info: `flashmoe-${version}`,
    model,
  });
}
