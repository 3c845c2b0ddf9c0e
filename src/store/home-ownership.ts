// What of the home beside its models is ours: the engine and its build, logs, states of prompts, settings.

import { basename, relative, sep } from 'node:path';
import { homeAddonPath } from '../addon/load.js';
import { finalName, type OwnedFolder } from '../base/owned-files.js';
import type { HomePaths } from '../base/paths.js';

/** Logs, with the older ones that a number stands behind, and what counts the starts of the server. */
const LOG_NAME =
  /^(server\.log|service\.(out|err)\.log|setup\.ndjson|provision\.(ndjson|err\.log)|server-starts\.json)(\.\d+)?$/;
const REPORT_NAME = /^doctor-[\d-]+\.json$/;
/** A state of a prompt, or what was being written of one. */
const STATE_NAME = /^([0-9a-f]{16}-[0-9a-f-]+\.state|\.[0-9a-f]{12}\.partial)$/;

/** Which experts of a model were used most, beside the folder of its states. */
const HOTTEST_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*\.hottest$/;

export function ownedHome(home: HomePaths): OwnedFolder {
  const below = (path: string): string => relative(home.home, path).split(sep).join('/');
  const [engine, logs, prompts, settings] = [
    home.engine,
    home.logs,
    home.prompts,
    home.settings,
  ].map(below);
  const ofEngine = new Set([basename(homeAddonPath(home.engine)), 'build.json', 'build.log']);
  return {
    root: home.home,
    owns: (path) => {
      const name = finalName(path);
      const [folder, file = ''] = split(name);
      if (name === settings) return true;
      // Sources are copied there whole, and compiled.
      if (folder === engine) return ofEngine.has(file) || file.startsWith('source/');
      if (folder === logs) return LOG_NAME.test(file) || REPORT_NAME.test(file);
      return folder === prompts && (STATE_NAME.test(basename(path)) || HOTTEST_NAME.test(file));
    },
  };
}

function split(path: string): [string, string?] {
  const at = path.indexOf('/');
  return at < 0 ? [path] : [path.slice(0, at), path.slice(at + 1)];
}
