// Downloads one file of a repository and prints each progress event: `endpoint repo path destination`.
import { HubClient } from '../../../src/hub/client.js';
import type { HubTask } from '../../../src/hub/types.js';
import { testSettings } from '../../helpers/hub/settings.js';

const [endpoint = '', repo = '', path = '', destination = ''] = process.argv.slice(2);
const client = new HubClient(testSettings(endpoint));
const task: HubTask = {
  signal: new AbortController().signal,
  emit: (event) => console.log(JSON.stringify(event)),
};
const listing = await client.list(repo, 'main', task);
try {
  await client.download(listing, path, destination, task);
} catch (error) {
  const { code, message, hint } = error as { code: string; message: string; hint: string };
  console.log(JSON.stringify({ code, message, hint }));
  process.exitCode = 1;
} finally {
  client.close();
}
