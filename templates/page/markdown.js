// Markdown of a model as nodes. Made node by node: HTML in it stays text, a picture is a link, and a link goes to the web or
// to a mail program and nowhere else.

import { lexer } from './marked.js';
import { make } from './dom.js';

const PROTOCOLS = new Set(['http:', 'https:', 'mailto:']);
/** Of quotes and lists in each other. Beyond that a text is shown as it was written. */
const DEEPEST = 24;

/**
 * Brings `target` to what the text says. Blocks that did not change stay, so that a selection in them stays while more comes.
 * @param {HTMLElement} target holds nothing else
 */
export function showMarkdown(target, text) {
  const blocks = blocksOf(text);
  const shown = [...target.children];
  let same = 0;
  while (same < shown.length && same < blocks.length && shown[same].source === blocks[same].raw)
    same++;
  for (const element of shown.slice(same)) element.remove();
  for (const token of blocks.slice(same)) {
    const element = make('div', { source: token.raw, className: 'block' });
    element.append(...safely(token));
    target.append(element);
  }
}

function blocksOf(text) {
  try {
    return lexer(text).filter(({ type }) => type !== 'space' && type !== 'def');
  } catch {
    // Nested deeper than the reader of Markdown goes.
    return [{ type: 'plain', raw: text }];
  }
}

function safely(token) {
  try {
    return block(token, 0);
  } catch {
    return [make('pre', {}, token.raw)];
  }
}

function block(token, depth) {
  if (depth > DEEPEST) return [make('p', {}, token.raw)];
  const inside = (tokens) => (tokens ?? []).flatMap((each) => block(each, depth + 1));
  switch (token.type) {
    case 'space':
    case 'def':
      return [];
    case 'heading':
      // The page has a heading and the conversation another one.
      return [make(`h${Math.min(6, token.depth + 2)}`, {}, ...inline(token.tokens, depth))];
    case 'paragraph':
      return [make('p', {}, ...inline(token.tokens, depth))];
    case 'text':
      return inline(token.tokens ?? [token], depth);
    case 'code':
      return [codeBlock(token)];
    case 'blockquote':
      return [make('blockquote', {}, ...inside(token.tokens))];
    case 'list': {
      const items = token.items.map((item) =>
        make('li', {}, item.task ? (item.checked ? '☑ ' : '☐ ') : null, ...inside(item.tokens)),
      );
      const list = make(token.ordered ? 'ol' : 'ul', {}, ...items);
      if (token.ordered && token.start !== '') list.start = Number(token.start);
      return [list];
    }
    case 'table':
      return [table(token, depth)];
    case 'hr':
      return [make('hr')];
    default:
      return [make('p', { className: 'said' }, token.raw.trimEnd())];
  }
}

function table({ header, rows }, depth) {
  const cells = (tag, row) => row.map((cell) => make(tag, {}, ...inline(cell.tokens, depth)));
  return make(
    'div',
    { className: 'scroller', tabIndex: 0, role: 'group', 'aria-label': 'Table' },
    make(
      'table',
      {},
      make('thead', {}, make('tr', {}, ...cells('th', header))),
      make('tbody', {}, ...rows.map((row) => make('tr', {}, ...cells('td', row)))),
    ),
  );
}

function codeBlock({ text, lang }) {
  const language = /^[\w+#.-]{1,20}/.exec(lang ?? '')?.[0] ?? '';
  const copy = make('button', { type: 'button', className: 'copy', textContent: 'Copy' });
  copy.setAttribute('aria-label', `Copy code${language === '' ? '' : ` (${language})`}`);
  copy.addEventListener('click', () => void copyText(text, copy));
  return make(
    'div',
    { className: 'code' },
    make('div', { className: 'code-head' }, make('span', {}, language || 'code'), copy),
    make('pre', { tabIndex: 0, 'aria-label': 'Code', role: 'group' }, make('code', {}, text)),
  );
}

function inline(tokens, depth) {
  if (depth > DEEPEST) return (tokens ?? []).map(({ raw }) => raw);
  return (tokens ?? []).flatMap((token) => {
    const inside = () => inline(token.tokens, depth + 1);
    switch (token.type) {
      case 'strong':
      case 'em':
      case 'del':
        return [make(token.type, {}, ...inside())];
      case 'codespan':
        return [make('code', {}, token.text)];
      case 'br':
        return [make('br')];
      case 'link':
        return [link(token.href, inside())];
      case 'image':
        return [link(token.href, [`picture: ${token.text || token.href}`])];
      case 'escape':
        return [token.text];
      case 'text':
        return token.tokens ? inside() : [decoded(token.text)];
      default:
        return [token.raw];
    }
  });
}

/** Words without an address where the address is none that a reader would want to follow. */
function link(href, children) {
  const url = URL.canParse(href) ? new URL(href) : null;
  if (url === null || !PROTOCOLS.has(url.protocol))
    return make('span', {}, ...children, ` (${href})`);
  const opened = { href: url.href, target: '_blank', rel: 'noopener noreferrer', title: url.href };
  return make('a', opened, ...children);
}

const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', '#39': "'" };

function decoded(text) {
  return text.replace(/&(amp|lt|gt|quot|apos|nbsp|#39);/g, (_, name) => ENTITIES[name]);
}

/** @param {HTMLButtonElement} button says for a moment how it went */
export async function copyText(text, button) {
  const before = button.textContent;
  button.textContent = (await copied(text)) ? 'Copied' : 'Not copied';
  setTimeout(() => (button.textContent = before), 1500);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP from another machine there is no clipboard but the old way.
    const area = make('textarea', { value: text, className: 'unseen' });
    document.body.append(area);
    area.select();
    const worked = document.execCommand('copy');
    area.remove();
    return worked;
  }
}
