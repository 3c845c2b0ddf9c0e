// What was said, as elements of the page. Knows how a turn looks, not where it comes from.

import { counted, duration, make } from './dom.js';
import { copyText, showMarkdown } from './markdown.js';

function button(text, label, onClick) {
  const made = make('button', { type: 'button', textContent: text, 'aria-label': label });
  made.addEventListener('click', () => onClick(made));
  return made;
}

/** @param {{content: string}} message @param {() => void} onEdit */
export function userTurn({ content }, onEdit) {
  const tools = make('div', { className: 'tools' }, button('Edit', 'Edit and send again', onEdit));
  const said = make('div', { className: 'said', dir: 'auto' }, content);
  return make('article', { className: 'turn user', 'aria-label': 'You' }, said, tools);
}

/** In the place of a turn: `onSend` gets the new text. */
export function editedTurn({ content }, onSend, onCancel) {
  const area = make('textarea', { value: content, rows: 3, 'aria-label': 'Your message' });
  const send = make('button', { textContent: 'Send again' });
  const form = make(
    'form',
    { className: 'turn user editing' },
    area,
    make('div', { className: 'tools' }, send, button('Cancel', 'Leave it as it was', onCancel)),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (area.value.trim() !== '') onSend(area.value);
  });
  area.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') onCancel();
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  return form;
}

/** An answer, also one that is still coming: `show` brings it to what its message says by now. */
export class AnswerTurn {
  #thinking = make('div', { className: 'said', dir: 'auto' });
  #summary = make('summary');
  #folded = make('details', { className: 'thinking' }, this.#summary, this.#thinking);
  #words = make('p', { className: 'quiet' });
  #bar = make('progress', { max: 1, value: 0, 'aria-label': 'Prompt read' });
  #reading = make('div', { className: 'reading' }, this.#bar, this.#words);
  #text = make('div', { className: 'markdown', dir: 'auto' });
  #note = make('p', { className: 'quiet note' });
  #tools = make('div', { className: 'tools' });
  element = make(
    'article',
    { className: 'turn answer', 'aria-label': 'Answer' },
    ...[this.#reading, this.#folded, this.#text, this.#note, this.#tools],
  );

  /** @param {() => void} onAgain asks for another answer to the same */
  constructor(onAgain) {
    this.onAgain = onAgain;
  }

  /**
   * @param message as it is kept
   * @param progress of an answer that is coming: `{words, share}`, share null before the reading began; null when it ended
   */
  show(message, progress) {
    const { content, reasoning } = message;
    this.element.setAttribute('aria-busy', String(progress !== null));
    this.#reading.hidden = progress === null || content !== '' || reasoning !== '';
    if (progress !== null) {
      this.#words.textContent = progress.words;
      this.#bar.hidden = progress.share === null;
      if (progress.share !== null) this.#bar.value = progress.share;
    }
    this.#folded.hidden = reasoning === '';
    if (this.#thinking.textContent !== reasoning) this.#thinking.textContent = reasoning;
    this.#summary.textContent = thinkingWords(message, progress !== null);
    showMarkdown(this.#text, content);
    this.#note.textContent = progress === null ? noteOf(message) : '';
    if (progress === null && this.#tools.childElementCount === 0) {
      const copy = button(
        'Copy',
        'Copy the answer',
        (made) => void copyText(message.content, made),
      );
      this.#tools.append(copy, button('Try again', 'Ask for another answer', this.onAgain));
    }
  }
}

function thinkingWords({ content, thoughtMs }, isComing) {
  if (isComing && content === '') return 'Thinking';
  const seconds = Math.round((thoughtMs ?? 0) / 1000);
  if (seconds < 1) return 'Thought';
  return seconds < 120 ? `Thought for ${seconds} s` : `Thought for ${duration(thoughtMs)}`;
}

function noteOf({ note, figures }) {
  const parts = [note].filter(Boolean);
  if (figures) {
    parts.push(`${counted.format(figures.tokens)} tokens`);
    if (figures.rate > 0) parts.push(`${figures.rate.toFixed(1)} tokens/s`);
    parts.push(`${counted.format(figures.prompt)} prompt tokens read before`);
    if (figures.cached > 0) parts.push(`${counted.format(figures.cached)} of them from the cache`);
  }
  return parts.join(' · ');
}
