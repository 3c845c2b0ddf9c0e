// The server's API key: kept in this tab, sent in a header, never in an address.

import { at } from './dom.js';

export function keyHeaders() {
  const key = sessionStorage.getItem('key');
  return key === null ? {} : { authorization: `Bearer ${key}` };
}

/** Shows the form while the server wants a key. */
export function askKey(isWanted) {
  at('key-form').hidden = !isWanted;
}

/** Tells the window of a new key by the event `key`. */
export function watchKey() {
  at('key-form').addEventListener('submit', (event) => {
    event.preventDefault();
    sessionStorage.setItem('key', at('key').value);
    at('key').value = '';
    dispatchEvent(new Event('key'));
  });
}
