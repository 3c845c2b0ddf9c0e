// The page: a conversation, and what the server does. Which of the two is seen is in the address, behind `#`.

import { startChat } from './chat.js';
import { at } from './dom.js';
import { watchFigures } from './figures.js';
import { watchKey } from './key.js';

const VIEWS = ['chat', 'figures'];

function showView() {
  const asked = location.hash.slice(1);
  const shown = VIEWS.includes(asked) ? asked : 'chat';
  for (const view of VIEWS) {
    at(view).hidden = view !== shown;
    const link = at(`to-${view}`);
    if (view === shown) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  scrollTo(0, 0);
}

addEventListener('hashchange', showView);
showView();
watchKey();
startChat();
watchFigures();
