// response_format of chat completions and text.format of responses: one idea in two shapes.

import type { ChatRequest } from '../engine/types.js';
import { badField } from './api-error.js';

interface WireFormat {
  type: string;
  schema?: Record<string, unknown> | null | undefined;
}

/** @param path of the field, for messages @param inside where the schema is below it */
export function answerFormat(
  format: WireFormat | null | undefined,
  path: string,
  inside = 'schema',
): ChatRequest['format'] {
  switch (format?.type ?? 'text') {
    case 'text':
      return undefined;
    case 'json_object':
      return { type: 'json-object' };
    case 'json_schema': {
      const schema = format?.schema ?? null;
      if (schema === null) throw badField(`${path}.${inside}`, `${path}.${inside}: is missing`);
      return { type: 'json-schema', schema };
    }
    default:
      throw badField(
        `${path}.type`,
        `${path}.type: is text, json_object or json_schema, not ${format?.type ?? ''}`,
      );
  }
}
