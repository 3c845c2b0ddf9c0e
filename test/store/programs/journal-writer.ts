// Appends to the journal named by the first argument, reporting each line after it is durable.
import { openJournal, type JournalHeader } from '../../../src/store/journal.js';

const [path = '', header = ''] = process.argv.slice(2);
const journal = await openJournal(path, JSON.parse(header) as JournalHeader);
for (let line = 0; ; line += 1) {
  await journal.append({ step: 'released', shard: `model-${line}.safetensors` });
  console.log(line);
}
