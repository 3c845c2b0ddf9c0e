// The model that is asked and how it chooses its words. Empty fields leave it to the model; all stay in this browser.

import { at, make } from './dom.js';

const FIELDS = ['system', 'thinking', 'temperature', 'top-p', 'max-tokens'];

export function watchSampling() {
  at('sampling-form').addEventListener('submit', (event) => event.preventDefault());
  const kept = JSON.parse(localStorage.getItem('sampling') ?? '{}');
  for (const id of FIELDS) {
    at(id).value = kept[id] ?? at(id).value;
    at(id).addEventListener('input', () => {
      const values = FIELDS.map((each) => [each, at(each).value]);
      localStorage.setItem('sampling', JSON.stringify(Object.fromEntries(values)));
    });
  }
}

/** Fields of the request; null when one of them is out of its bounds, which the browser then says. */
export function samplingFields() {
  if (!at('sampling-form').checkValidity()) {
    at('sampling').open = true;
    at('sampling-form').reportValidity();
    return null;
  }
  const number = (id, name) => (at(id).value === '' ? {} : { [name]: at(id).valueAsNumber });
  const thinking = at('thinking').value;
  return {
    ...number('temperature', 'temperature'),
    ...number('top-p', 'top_p'),
    ...number('max-tokens', 'max_tokens'),
    ...(thinking === '' ? {} : { enable_thinking: thinking === 'on' }),
  };
}

/** An array with the system message, or an empty one. */
export function systemMessages() {
  const content = at('system').value.trim();
  return content === '' ? [] : [{ role: 'system', content }];
}

/** The models that the server has; the chosen one stays chosen while it is there. */
export async function listModels() {
  const { data } = await (await fetch('/v1/models')).json();
  const choice = at('model-choice');
  const ids = data.map(({ id }) => id);
  const shown = [...choice.options].map(({ value }) => value);
  if (ids.length === 0 || ids.join('\n') === shown.join('\n')) return;
  const before = choice.value || localStorage.getItem('model');
  choice.replaceChildren(...ids.map((id) => make('option', { value: id, textContent: id })));
  choice.value = ids.includes(before) ? before : ids[0];
}
