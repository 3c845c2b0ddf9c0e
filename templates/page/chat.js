// Conversations with the server's model. Owns what is said and what is coming; how it looks is in turns.js.

import {
  deleteConversation,
  keepConversation,
  listConversations,
  loadConversation,
  newConversation,
} from './conversations.js';
import { at, counted, duration, make, say } from './dom.js';
import { onStatus } from './figures.js';
import { listModels, samplingFields, systemMessages, watchSampling } from './sampling.js';
import { streamAnswer } from './stream.js';
import { AnswerTurn, editedTurn, userTurn } from './turns.js';

const PAINT_MS = 80;
const KEEP_MS = 2000;

let conversation = newConversation();
/** The answer that is coming; also of a conversation that is not seen now. */
let running = null;
let status = null;
const wide = matchMedia('(min-width: 60rem)');

/** Brings the whole conversation to the page: after it was chosen, edited or answered. */
function show() {
  const turns = conversation.messages.map((message, index) => {
    if (message.role === 'user') return userTurn(message, () => edit(index));
    if (message === running?.message) return running.turn.element;
    const turn = new AnswerTurn(() => again(index));
    turn.show(message, null);
    return turn.element;
  });
  at('log').replaceChildren(...turns);
  at('empty').hidden = turns.length > 0;
  at('failure').hidden = true;
  at('send').hidden = running !== null;
  at('stop').hidden = running === null;
  showList();
}

function showList() {
  const items = listConversations().map(({ id, title }) => {
    const name = title || 'Without words';
    const open = make('button', { type: 'button', className: 'open', textContent: name });
    if (id === conversation.id) open.setAttribute('aria-current', 'true');
    open.addEventListener('click', () => choose(id));
    const gone = make('button', {
      type: 'button',
      textContent: '×',
      'aria-label': `Delete ${name}`,
    });
    gone.addEventListener('click', () => remove(id, name));
    return make('li', {}, open, gone);
  });
  at('conversations').replaceChildren(...items);
}

function choose(id) {
  const found = running?.conversation.id === id ? running.conversation : loadConversation(id);
  conversation = found ?? newConversation();
  if (conversation.model !== null) at('model-choice').value = conversation.model;
  if (at('model-choice').selectedIndex < 0) at('model-choice').selectedIndex = 0;
  if (!wide.matches) at('conversations-box').open = false;
  show();
  toEnd();
  at('message').focus();
}

function remove(id, name) {
  if (!confirm(`Delete “${name}”? It is kept in this browser only.`)) return;
  if (running?.conversation.id === id) running.abort.abort();
  deleteConversation(id);
  if (conversation.id === id) conversation = newConversation();
  show();
}

function edit(index) {
  const form = editedTurn(
    conversation.messages[index],
    (content) => {
      conversation.messages.splice(index);
      void ask(content);
    },
    show,
  );
  at('log').children[index].replaceWith(form);
  form.querySelector('textarea').focus();
}

/** Another answer in the place of the one at `index`, and of all that came after it. */
function again(index) {
  const { content } = conversation.messages[index - 1];
  conversation.messages.splice(index - 1);
  void ask(content);
}

async function ask(content) {
  const fields = samplingFields();
  if (running !== null || fields === null) return;
  const asked = conversation;
  asked.model = at('model-choice').value || null;
  asked.messages.push({ role: 'user', content });
  const before = asked.messages.map(({ role, content }) => ({ role, content }));
  const message = { role: 'assistant', content: '', reasoning: '', note: 'cut off', figures: null };
  asked.messages.push(message);
  const turn = new AnswerTurn(() => again(asked.messages.indexOf(message)));
  const now = Date.now();
  running = {
    conversation: asked,
    message,
    turn,
    abort: new AbortController(),
    since: now,
    reading: null,
    kept: now,
  };
  say('announce', 'Sent');
  keep(asked);
  show();
  paint();
  toEnd();
  const timer = setInterval(paint, PAINT_MS);
  const body = { messages: [...systemMessages(), ...before], ...fields };
  const failure = await hear({ ...body, ...(asked.model === null ? {} : { model: asked.model }) });
  clearInterval(timer);
  end(failure);
}

/** Until the answer ends. What went wrong, or null; a stop is not wrong. */
async function hear(body) {
  const { message, abort } = running;
  try {
    for await (const event of streamAnswer(body, abort.signal)) {
      if (event.reading)
        running.reading = {
          from: event.reading.done,
          at: Date.now(),
          ...running.reading,
          ...event.reading,
        };
      if (event.reasoning) message.reasoning += event.reasoning;
      if (event.content) {
        if (message.content === '' && message.reasoning !== '')
          message.thoughtMs = Date.now() - running.since;
        message.content += event.content;
      }
      if (event.finish) message.note = event.finish === 'length' ? 'cut at the token limit' : '';
      if (event.usage) message.figures = figuresOf(event);
    }
    return null;
  } catch (error) {
    if (abort.signal.aborted) message.note = 'stopped';
    return abort.signal.aborted ? null : error;
  }
}

function figuresOf({ usage, timings }) {
  const cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
  const rate = timings?.predicted_per_second ?? 0;
  return { tokens: usage.completion_tokens, prompt: usage.prompt_tokens, cached, rate };
}

function end(failure) {
  const { conversation: asked, message, turn } = running;
  const isEmpty = message.content === '' && message.reasoning === '';
  const wasAtEnd = isAtEnd();
  running = null;
  if (isEmpty) asked.messages.pop();
  turn.show(message, null);
  // A conversation that was deleted meanwhile stays deleted.
  if (loadConversation(asked.id) !== null) keep(asked);
  show();
  const isSeen = asked === conversation;
  // What stands below an answer came with its end.
  if (isSeen && wasAtEnd && !at('chat').hidden) toEnd();
  const words =
    failure === null ? (message.note === 'stopped' ? 'Stopped' : 'Answered') : 'No answer';
  say('announce', isSeen ? words : `${words} in another conversation`);
  if (isEmpty && isSeen) sayEmpty(asked, failure);
  else if (failure !== null && isSeen) fail(failure.message);
}

/** A question without an answer goes back to where it was typed. */
function sayEmpty(asked, failure) {
  if (at('message').value === '') {
    at('message').value = asked.messages.pop()?.content ?? '';
    if (asked.messages.length > 0) keep(asked);
    else deleteConversation(asked.id);
  }
  show();
  at('message').focus();
  if (failure !== null) fail(failure.message);
}

function fail(words) {
  say('failure', words);
  at('failure').hidden = false;
}

function keep(asked) {
  if (!keepConversation(asked))
    fail('This browser keeps no more conversations: delete one of them');
}

/** What came since, some times a second. */
function paint() {
  if (running === null) return;
  const wasAtEnd = isAtEnd();
  running.turn.show(running.message, progress());
  if (wasAtEnd && running.conversation === conversation && !at('chat').hidden) toEnd();
  if (Date.now() - running.kept < KEEP_MS) return;
  running.kept = Date.now();
  if (loadConversation(running.conversation.id) !== null) keepConversation(running.conversation);
}

function isAtEnd() {
  return innerHeight + scrollY >= document.documentElement.scrollHeight - 60;
}

function toEnd() {
  scrollTo(0, document.documentElement.scrollHeight);
}

function progress() {
  const { reading, since } = running;
  if (reading === null) return { words: waiting(Date.now() - since), share: null };
  const { from, done, total, at: began } = reading;
  const words = `${counted.format(done)} of ${counted.format(total)} prompt tokens read`;
  const share = total > 0 ? done / total : null;
  if (done <= from || done >= total) return { words, share };
  const left = ((Date.now() - began) / (done - from)) * (total - done);
  return { words: `${words}, ${left < 60_000 ? '' : 'about '}${duration(left)} left`, share };
}

function waiting(ms) {
  const seconds = ms < 3000 ? '' : `, ${Math.round(ms / 1000)} s so far`;
  if (status === null) return `Waiting for the server${seconds}`;
  if (status.state !== 'ready') return `The model is loaded first${seconds}`;
  if (status.queue.waiting > 0) return `Another answer comes first${seconds}`;
  return `Waiting for the model${seconds}`;
}

/** What the chosen model is good for and what it takes, in a line. */
function showAbout() {
  const about = status?.models?.find(({ id }) => id === at('model-choice').value)?.about ?? '';
  say('about', about);
  at('about').hidden = about === '';
}

function send() {
  const area = at('message');
  if (area.value.trim() === '' || running !== null) return;
  const content = area.value;
  if (samplingFields() === null) return;
  area.value = '';
  void ask(content);
}

export function startChat() {
  watchSampling();
  at('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    send();
  });
  at('message').addEventListener('keydown', (event) => {
    // A touch keyboard has no Shift+Enter: there, Enter is a new line.
    const isSent =
      event.key === 'Enter' && !event.shiftKey && !matchMedia('(pointer: coarse)').matches;
    if (!isSent || event.isComposing) return;
    event.preventDefault();
    send();
  });
  addEventListener('keydown', (event) => {
    if (event.key === 'Escape') running?.abort.abort();
  });
  at('stop').addEventListener('click', () => {
    running?.abort.abort();
    at('message').focus();
  });
  at('new').addEventListener('click', () => choose(null));
  at('model-choice').addEventListener('change', () =>
    localStorage.setItem('model', at('model-choice').value),
  );
  // Another tab kept or deleted one.
  addEventListener('storage', showList);
  const fold = () => (at('conversations-box').open = wide.matches);
  wide.addEventListener('change', fold);
  fold();
  onStatus((latest) => {
    const isNew = latest !== null && latest.model?.id !== status?.model?.id;
    status = latest;
    showAbout();
    if (isNew) void listModels().catch(() => undefined);
  });
  show();
}
