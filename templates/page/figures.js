// The figures of the page, asked for once a second while it is seen. Prices stay in this browser.

import { at, counted, duration, say } from './dom.js';
import { askKey, keyHeaders } from './key.js';

const EVERY_MS = 1000;
const PRICES = ['price-in', 'price-out', 'currency'];

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];

/** 1,234,567 → ['1.23', 'MB'] */
function bytes(count) {
  const step = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(count || 1) / 3)));
  const value = count / 1000 ** step;
  return [step === 0 ? `${count}` : value.toPrecision(3), UNITS[step]];
}

function sayBytes(id, count) {
  const [value, unit] = bytes(count);
  const small = document.createElement('small');
  small.textContent = unit;
  at(id).replaceChildren(`${value} `, small);
}

/** @param share of a meter, in percent */
function fill(id, share) {
  at(id).setAttribute('aria-valuenow', share.toFixed(0));
  at(id).firstElementChild.style.width = `${share}%`;
}

function showState({ state, running, reason }) {
  const now = state === 'ready' && running !== null ? 'answering' : state;
  at('state').dataset.state = now;
  say('state', now);
  at('state').title = reason ?? '';
  document.title = now === 'answering' ? '● flashmoe' : 'flashmoe';
}

function showSpeed({ running, lately, now, reason }) {
  const decodes = lately.buckets.filter(({ decodingMs }) => decodingMs > 0);
  const made = decodes.reduce((sum, { tokens }) => sum + tokens, 0);
  const ms = decodes.reduce((sum, { decodingMs }) => sum + decodingMs, 0);
  const average = ms > 0 ? (made / ms) * 1000 : 0;
  say('rate', (running?.tokensPerSecond || (running === null ? average : 0)).toFixed(1));
  say('speed-title', running === null && average > 0 ? 'Speed of late' : 'Speed');
  say('lately', average > 0 ? `${average.toFixed(1)} tokens/s on average` : 'no tokens lately');
  say('doing', doing(running, now, reason));
  const reads = running?.phase === 'prefill' && running.promptTotal > 0;
  at('progress').hidden = !reads;
  if (reads) at('progress').value = running.promptDone / running.promptTotal;
  chart(lately, now);
}

function doing(running, now, reason) {
  if (reason !== null) return reason;
  if (running === null) return 'nothing to do right now';
  if (running.phase === 'decode') return `${counted.format(running.tokens)} tokens so far`;
  const { promptDone: done, promptTotal: total, since } = running;
  const words = `${counted.format(done)} of ${counted.format(total)} prompt tokens read`;
  if (done === 0 || done === total) return words;
  return `${words}, about ${duration(((now - since) / done) * (total - done))} left`;
}

const SVG = 'http://www.w3.org/2000/svg';
const BARS = 60;

/** One bar for ten seconds, its height the tokens made in them. */
function chart({ bucket_ms: wide, buckets }, now) {
  const last = now - (now % wide);
  const most = Math.max(1, ...buckets.map(({ tokens }) => tokens));
  const made = new Map(buckets.map(({ since, tokens }) => [since, tokens]));
  const bars = Array.from({ length: BARS }, (_, i) => {
    const tokens = made.get(last - (BARS - 1 - i) * wide) ?? 0;
    const high = tokens === 0 ? 2 : Math.max(4, (tokens / most) * 116);
    const bar = document.createElementNS(SVG, 'rect');
    const box = { x: i * 10 + 1, y: 120 - high, width: 8, height: high, rx: 2 };
    for (const [name, value] of Object.entries(box)) bar.setAttribute(name, value);
    if (tokens === 0) bar.setAttribute('class', 'none');
    return bar;
  });
  at('chart').replaceChildren(...bars);
  const sum = buckets.reduce((total, { tokens }) => total + tokens, 0);
  at('chart').setAttribute('aria-label', `${counted.format(sum)} tokens in the last ten minutes`);
}

function showModel({ model }) {
  say('model', model?.id ?? 'none');
  if (model?.quant === undefined) return at('model-facts').replaceChildren();
  const facts = {
    Experts: `${model.quant}, ${model.expertsPerToken} per token`,
    Context: `${counted.format(model.contextLength)} tokens`,
    Resident: bytes(model.denseBytes).join(' '),
    Engine: [model.backend, model.isa].filter(Boolean).join(', '),
  };
  const rows = Object.entries(facts).map(([name, value]) => {
    const row = document.createElement('div');
    const term = document.createElement('dt');
    const told = document.createElement('dd');
    term.textContent = name;
    told.textContent = value;
    row.append(term, told);
    return row;
  });
  at('model-facts').replaceChildren(...rows);
}

function showQueue({ running, waiting, limit }) {
  say('waiting', counted.format(waiting));
  const places = Array.from({ length: limit }, (_, i) => {
    const place = document.createElement('li');
    if (i < waiting) place.className = 'taken';
    return place;
  });
  at('places').replaceChildren(...places);
  say('queue-words', `${running ? 'one is being answered' : 'idle'}, room for ${limit}`);
}

function showTotals({ totals, memory, routes }) {
  const { prompt_tokens: prompt, cached_prompt_tokens: cached, completion_tokens: made } = totals;
  sayBytes('bytes', totals.expert_bytes_read);
  const worked = prompt - cached + made;
  const each = worked > 0 ? bytes(totals.expert_bytes_read / worked).join(' ') : null;
  say('bytes-words', each === null ? 'experts, when they are needed' : `experts, ${each} a token`);
  const share = prompt > 0 ? (cached / prompt) * 100 : 0;
  say('hits', share.toFixed(0));
  fill('hit-meter', share);
  say('hits-words', `${counted.format(cached)} of ${counted.format(prompt)} tokens`);
  sayBytes('memory', memory.process);
  fill('memory-meter', memory.machine > 0 ? (memory.process / memory.machine) * 100 : 0);
  say('memory-words', `of ${bytes(memory.machine).join(' ')} in this machine`);
  say('tokens', counted.format(made));
  const elsewhere = routes.fast > 0 ? `, ${counted.format(routes.fast)} by the fast model` : '';
  say('tokens-words', `in ${counted.format(totals.answers)} answers${elsewhere}`);
}

/** Of the experts that layers asked for since the start, those that were there; and what is there now. */
function showExperts({ totals, experts }) {
  const {
    expert_uses: uses,
    expert_hits: hits,
    expert_waits: waits,
    completion_tokens: made,
  } = totals;
  const share = uses > 0 ? (hits / uses) * 100 : 0;
  say('expert-hits', share.toFixed(0));
  fill('expert-meter', share);
  const held =
    experts === null
      ? []
      : [`${counted.format(experts.held)} in ${bytes(experts.bytes).join(' ')}`];
  const waited = made > 0 ? [`${(waits / made).toFixed(1)} waits a token`] : [];
  say('experts-words', [...held, ...waited].join(', ') || 'nothing was asked for yet');
}

let latest = null;
const listeners = new Set();

/** Tells each new status; null while the server does not answer. */
export function onStatus(listener) {
  listeners.add(listener);
}

function tell(status) {
  for (const listener of listeners) listener(status);
}

function showSavings() {
  const [perPrompt, perAnswer] = PRICES.slice(0, 2).map((id) => at(id).valueAsNumber);
  if (latest === null || Number.isNaN(perPrompt) || Number.isNaN(perAnswer)) {
    say('saved', '–');
    say('saved-words', 'Set the prices of the model you would use instead');
    return;
  }
  const { prompt_tokens: prompt, completion_tokens: made } = latest.totals;
  const money = (prompt * perPrompt + made * perAnswer) / 1e6;
  say('saved', inCurrency(money, at('currency').value.trim().toUpperCase() || 'USD'));
  const tokens = `${counted.format(prompt)} prompt and ${counted.format(made)} answer tokens`;
  say('saved-words', `${tokens} since ${new Date(latest.started_at).toLocaleString()}`);
}

function inCurrency(money, currency) {
  const digits = money > 0 && money < 1 ? 4 : 2;
  try {
    const style = { style: 'currency', currency, maximumFractionDigits: digits };
    return new Intl.NumberFormat(undefined, style).format(money);
  } catch {
    // Not a code of a currency; the sum is right all the same.
    return `${money.toFixed(digits)} ${currency}`;
  }
}

function show(status) {
  latest = status;
  showState(status);
  showSpeed(status);
  showModel(status);
  showQueue(status.queue);
  showTotals(status);
  showExperts(status);
  showSavings();
  say('since', `flashmoe ${status.version}, up for ${duration(status.now - status.started_at)}`);
  at('lost').hidden = true;
  tell(status);
}

function lost() {
  at('state').dataset.state = 'lost';
  say('state', 'not reachable');
  tell(null);
  if (latest === null) return;
  say('lost-since', new Date(latest.now).toLocaleTimeString());
  at('lost').hidden = false;
}

async function ask() {
  const response = await fetch('/status', { headers: keyHeaders(), cache: 'no-store' });
  askKey(response.status === 401);
  if (response.status === 401) {
    at('state').dataset.state = 'locked';
    say('state', 'locked');
    return;
  }
  show(await response.json());
}

/** One question at a time, and none while nobody looks. */
async function watch() {
  if (!document.hidden) await ask().catch(lost);
  setTimeout(watch, EVERY_MS);
}

/** Begins to ask; a key that was given is used at once. */
export function watchFigures() {
  addEventListener('key', () => void ask().catch(lost));
  for (const id of PRICES) {
    at(id).value = localStorage.getItem(id) ?? (id === 'currency' ? 'USD' : '');
    at(id).addEventListener('input', () => {
      localStorage.setItem(id, at(id).value);
      showSavings();
    });
  }
  say('base-openai', `${location.origin}/v1`);
  say('base-anthropic', location.origin);
  void watch();
}
