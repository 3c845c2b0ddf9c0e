// The tools of a response, as a model sees them: functions. A namespace's tools get its name before theirs,
// and a tool that takes free text gets it as its one argument.

import type { ChatRequest, ToolDefinition } from '../../../engine/types.js';
import { badField } from '../../api-error.js';
import { given } from '../../wire.js';
import type { ResponsesBody, WireTool } from './schema.js';

export interface OfferedTool {
  definition: ToolDefinition;
  kind: 'function' | 'custom';
  /** As the client knows it. */
  name: string;
  namespace: string | null;
}

/** @param onIgnored told of kinds of tools that only their maker's own service has */
export function offeredTools(
  { tools, tool_choice: choice }: ResponsesBody,
  onIgnored: (what: string) => void = () => undefined,
): OfferedTool[] {
  const all = (tools ?? []).flatMap((tool, i) => offered(tool, null, `tools[${i}]`, onIgnored));
  if (typeof choice !== 'object' || choice?.type !== 'allowed_tools') return all;
  const allowed = new Set((choice.tools ?? []).map(({ name }) => name));
  return all.filter(({ name }) => allowed.has(name));
}

/** What a model calls a tool of a namespace. */
export function modelName(name: string, namespace: string | null | undefined): string {
  if (namespace === null || namespace === undefined || namespace === '') return name;
  return `${namespace.replace(/_+$/, '')}__${name}`;
}

/** Arguments of a tool that takes free text. */
export function freeText(json: string): string {
  try {
    const { input } = JSON.parse(json) as { input?: unknown };
    return typeof input === 'string' ? input : json;
  } catch {
    return json;
  }
}

export function toolChoice(
  { tool_choice: choice }: ResponsesBody,
  tools: readonly OfferedTool[],
): ChatRequest['toolChoice'] {
  const isRequired =
    typeof choice === 'string'
      ? choice === 'required'
      : choice?.type === 'allowed_tools' && choice.mode === 'required';
  if (isRequired) {
    if (tools.length > 0) return 'required';
    throw badField('tool_choice', 'tool_choice is required, and there are no tools');
  }
  if (typeof choice !== 'object' || choice === null || choice.type === 'allowed_tools') {
    return undefined;
  }
  const named = tools.find(({ name }) => name === choice.name);
  if (named !== undefined) return { name: named.definition.name };
  throw badField('tool_choice.name', `there is no tool "${choice.name ?? ''}"`);
}

function offered(
  tool: WireTool,
  namespace: string | null,
  path: string,
  onIgnored: (what: string) => void,
): OfferedTool[] {
  const name = tool.name ?? '';
  if (!KINDS.has(tool.type)) {
    onIgnored(`tools.${tool.type}`);
    return [];
  }
  if (name === '') throw badField(`${path}.name`, `${path}.name: is missing`);
  if (tool.type === 'namespace') {
    return (tool.tools ?? []).flatMap((inner, i) =>
      offered(inner, name, `${path}.tools[${i}]`, onIgnored),
    );
  }
  const kind = tool.type === 'custom' ? 'custom' : 'function';
  const definition = {
    name: modelName(name, namespace),
    ...given('description', kind === 'custom' ? customDescription(tool) : tool.description),
    ...given('parameters', kind === 'custom' ? FREE_TEXT : tool.parameters),
    ...(tool.strict === true ? { strict: true } : {}),
  };
  return [{ definition, kind, name, namespace }];
}

const KINDS = new Set(['function', 'custom', 'namespace']);

const FREE_TEXT = {
  type: 'object',
  properties: { input: { type: 'string' } },
  required: ['input'],
  additionalProperties: false,
};

/** A grammar of the text is told to the model; it isn't enforced. */
function customDescription({ description, format }: WireTool): string | null {
  const grammar = format?.type === 'grammar' ? (format.definition ?? '') : '';
  const syntax = grammar === '' ? '' : `\n\nThe input follows this grammar:\n${grammar}`;
  return `${description ?? ''}${syntax}`.trim() || null;
}
