// What the scripts of the page share: elements by id, made elements, and figures as words.

export const at = (id) => document.getElementById(id);

/** Only when it is another text: a screen reader reads what changes. */
export function say(id, text) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
}

/**
 * An element with properties and children. Texts become text nodes, never markup.
 * @param {string} tag
 * @param {Record<string, unknown>} properties of the element; `aria-…` and `data-…` are attributes
 * @param {...(Node | string | null)} children null is none
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-')) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export const counted = new Intl.NumberFormat();

export function duration(ms) {
  const minutes = Math.round(ms / 60_000);
  if (minutes < 1) return 'less than a minute';
  if (minutes < 120) return minutes === 1 ? 'a minute' : `${minutes} minutes`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} hours` : `${Math.round(hours / 24)} days`;
}
