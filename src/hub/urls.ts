// Which hosts are this machine, which go through the proxy, and what a URL looks like in a message.

import type { HubProxy } from './types.js';

export function isLoopback(url: URL): boolean {
  const host = url.hostname;
  return host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** True when this URL is reached through the proxy: https only, never loopback, and not in NO_PROXY. */
export function goesThroughProxy(url: URL, proxy: HubProxy | null): proxy is HubProxy {
  if (proxy === null || url.protocol !== 'https:' || isLoopback(url)) return false;
  const host = url.hostname.toLowerCase();
  const port = url.port === '' ? '443' : url.port;
  return !proxy.bypass.some((rule) => {
    if (rule === '*') return true;
    const [, name = rule, rulePort] = /^(.*?)(?::(\d+))?$/.exec(rule) ?? [];
    if (rulePort !== undefined && rulePort !== port) return false;
    const suffix = name.replace(/^\*?\./, '');
    return host === suffix || host.endsWith(`.${suffix}`);
  });
}

/** Origin and path: a signed URL's query is a credential and stays out of messages. */
export function printable(url: URL): string {
  return `${url.origin}${url.pathname}`;
}
