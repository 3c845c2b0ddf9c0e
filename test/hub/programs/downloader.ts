// Downloads one file with settings from the environment and prints each event: `repo path destination`.
import { HubClient } from '../../../src/hub/client.js';
import { hubSettings } from '../../../src/hub/settings.js';
import type { HubTask } from '../../../src/hub/types.js';
import { QUICK_RETRY } from '../../helpers/hub/settings.js';

const [repo = '', path = '', destination = ''] = process.argv.slice(2);
const { settings } = await hubSettings({
  env: process.env,
  homeDirectory: '/nonexistent',
  userAgent: 'flashmoe-test',
});
const client = new HubClient(settings, { metadataRetry: QUICK_RETRY, downloadRetry: QUICK_RETRY });
const task: HubTask = {
  signal: new AbortController().signal,
  emit: (event) => console.log(JSON.stringify(event)),
};
try {
  const listing = await client.list(repo, 'main', task);
  console.log(JSON.stringify(await client.download(listing, path, destination, task)));
} catch (error) {
  const { code, message, hint } = error as { code: string; message: string; hint: string };
  console.log(JSON.stringify({ code, message, hint }));
  process.exitCode = 1;
} finally {
  client.close();
}
