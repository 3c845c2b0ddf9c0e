// Conversations, kept in this browser and nowhere else: each under a key of its own, so that two tabs do not write over each other.

const PREFIX = 'chat.';

/** Newest first: `{id, title, updated}`. */
export function listConversations() {
  return Object.keys(localStorage)
    .filter((key) => key.startsWith(PREFIX))
    .flatMap((key) => loadConversation(key.slice(PREFIX.length)) ?? [])
    .sort((one, other) => other.updated - one.updated);
}

export function newConversation() {
  return {
    id: crypto.randomUUID?.() ?? `${Date.now()}`,
    title: '',
    model: null,
    messages: [],
    updated: 0,
  };
}

/** null when there is none, or something else lies there. */
export function loadConversation(id) {
  try {
    const found = JSON.parse(localStorage.getItem(PREFIX + id));
    return Array.isArray(found?.messages) && found.id === id ? found : null;
  } catch {
    return null;
  }
}

/** False when the browser keeps no more. */
export function keepConversation(conversation) {
  const [first] = conversation.messages;
  const title = (first?.content ?? '').trim().split('\n', 1)[0].slice(0, 60);
  Object.assign(conversation, { title, updated: Date.now() });
  try {
    localStorage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
    return true;
  } catch {
    return false;
  }
}

export function deleteConversation(id) {
  localStorage.removeItem(PREFIX + id);
}
