// flashmoe in a program: a plan, a setup with its events, one answer, and a server. Takes a folder for models and settings:
//
//     node examples/program.mjs ~/flashmoe-example
//
// The bundled model `tiny` (1 MB) needs no network. Any name of `flashmoe models` does instead.
import { createFlashmoe } from 'flashmoe';

const [home] = process.argv.slice(2);
const flashmoe = createFlashmoe('1.0.0', { home, note: (line) => console.error(line) });

const plan = await flashmoe.plan({ model: 'tiny' });
console.log(`${plan.model}: ${plan.downloadBytes} bytes to fetch, ${plan.finalBytes} on disk`);

const receipt = await flashmoe.setup(
  { model: 'tiny' },
  {
    onEvent: (event) => {
      if (event.type === 'step') console.error(`${event.step} ${event.status}`);
    },
  },
);
console.log(`sha256 ${receipt.contentSha256}`);

const engine = await flashmoe.open('tiny', { backend: 'cpu' });
try {
  let answer = '';
  const request = {
    messages: [{ role: 'user', content: receipt.answers[0].question }],
    tools: [],
    thinking: false,
    maxTokens: 32,
    stop: [],
    sampling: { temperature: 0 },
  };
  for await (const event of engine.chat(request, new AbortController().signal)) {
    if (event.type === 'text' && event.channel === 'content') answer += event.text;
  }
  console.log(`answer ${answer.trim()}`);
} finally {
  await engine.close();
}

const server = await flashmoe.serve({ model: 'tiny', port: 0 });
try {
  await server.modelSettled;
  const models = await (await fetch(`${server.url}/v1/models`)).json();
  console.log(`serves ${models.data[0].id}`);
} finally {
  await server.close();
}
