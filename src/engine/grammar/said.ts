// What a finished answer said, as it is checked.

import type { GenerateEvent } from '../types.js';

export interface Said {
  content: string;
  calls: { name: string; json: string }[];
}

export class Hearing implements Said {
  content = '';
  readonly calls: { name: string; json: string }[] = [];

  push(event: GenerateEvent): void {
    if (event.type === 'text' && event.channel === 'content') this.content += event.text;
    else if (event.type === 'tool-call') this.calls.push({ name: event.name, json: '' });
    else if (event.type === 'tool-arguments') {
      const call = this.calls.at(-1);
      if (call !== undefined) call.json += event.json;
    }
  }
}
