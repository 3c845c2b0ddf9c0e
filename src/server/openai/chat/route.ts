import { randomUUID } from 'node:crypto';
import { chatRequest, choiceRequests } from './request.js';
import { completionBody, type Identity } from './response.js';
import { parseChatBody } from './schema.js';
import { ChatEncoder } from './encoder.js';
import { addFinish, type FinishEvent } from '../../collected-answer.js';
import { tellOnce, type ServerContext } from '../../context.js';
import { begin, collect, streamed } from '../../generation.js';

export async function chatCompletions(
  context: ServerContext,
  http: Request,
  json: unknown,
): Promise<Response> {
  const body = parseChatBody(json, (field) => tellOnce(context, field));
  const requests = choiceRequests(chatRequest(body), body.n ?? 1);
  const id = `chatcmpl-${randomUUID().replaceAll('-', '')}`;
  const generation = await begin(context, http, id, requests);
  const identity: Identity = {
    id,
    created: Math.floor(context.now() / 1000),
    model: generation.engine.model.id,
    system_fingerprint: `flashmoe-${context.version}`,
  };
  if (body.stream === true) {
    const withUsage = body.stream_options?.include_usage !== false;
    const progress = body.return_progress === true ? context.now : null;
    return streamed(context, generation, requests, new ChatEncoder(identity, withUsage, progress));
  }
  const answers = await collect(context, generation, requests);
  const finish = answers.reduce<FinishEvent | null>(
    (sum, answer) => (answer.finish === null ? sum : addFinish(sum, answer.finish)),
    null,
  );
  return Response.json(finish === null ? null : completionBody(identity, answers, finish));
}
