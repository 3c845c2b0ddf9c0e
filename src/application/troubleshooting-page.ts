// docs/troubleshooting.md, from the codes of src/base/errors.ts.

import { ERROR_CODES, EXIT, exitStatus, type ErrorCode, type ExitName } from '../base/errors.js';

interface Guide {
  /** What happened, as a whole sentence without full stop. */
  means: string;
  /** What a person does about it. */
  remedy: string;
}

const GUIDES: Record<ErrorCode, Guide> = {
  ERR_USAGE: {
    means: 'What was typed, or a value of it, is not understood',
    remedy: '`flashmoe COMMAND --help` lists what a command takes',
  },
  ERR_UNKNOWN_MODEL: {
    means: 'No model of the catalogue has this name',
    remedy: '`flashmoe models` lists them; `--repo org/name` takes any other repository',
  },
  ERR_CONFIRM_NEEDED: {
    means: 'Much would be downloaded or deleted, and nobody can be asked. Nothing was changed',
    remedy: 'run the command that the hint prints: it agrees with `--yes`',
  },
  ERR_OFFLINE: {
    means: 'The hub cannot be reached, or `HF_HUB_OFFLINE` is set',
    remedy: 'check the network; `HTTPS_PROXY` names a proxy, `HF_ENDPOINT` a mirror',
  },
  ERR_NETWORK: {
    means:
      'A connection broke, or a network in between answered in place of the hub. What arrived is kept',
    remedy: 'log in to the network if it asks for that in a browser, then run the command again',
  },
  ERR_CERTIFICATE: {
    means: 'The certificate of the host is not trusted',
    remedy: 'where the network inspects TLS, point `SSL_CERT_FILE` at its certificate',
  },
  ERR_HTTP: {
    means: 'The hub answered with a status that trying again does not mend',
    remedy: 'read the status in the message; the repository may be disabled, or the mirror wrong',
  },
  ERR_AUTH: {
    means: 'The repository is gated or private, and there is no token, or it has no access',
    remedy: "accept the terms on the repository's page, then set `HF_TOKEN`",
  },
  ERR_NOT_FOUND: {
    means: 'The repository or one of its files is not there',
    remedy: 'check its name; a private one is not there without `HF_TOKEN`',
  },
  ERR_REVISION: {
    means: 'The branch, tag or commit is not there',
    remedy: 'name one that is, or leave `--revision` out',
  },
  ERR_RANGE: {
    means: 'The server gave other bytes than those that were asked for. None of them was used',
    remedy: 'run the command again; behind a mirror, try without `HF_ENDPOINT`',
  },
  ERR_REMOTE_CHANGED: {
    means: 'A file changed at the hub while it was fetched',
    remedy: 'run the command again: it plans from a fresh listing',
  },
  ERR_HASH: {
    means: 'Bytes were fetched twice and had a wrong sha256 both times. They have no final name',
    remedy:
      'same hash twice: tell the owner of the repository, or leave the mirror; two hashes: suspect the network, memory or disk of this machine',
  },
  ERR_REMOTE_CONTENT: {
    means:
      'The hub gave something that cannot be what it says: a web page, a file without a hash, a name that leads elsewhere',
    remedy: 'log in to the network if it asks for that; else tell the owner of the repository',
  },
  ERR_UNSUPPORTED_MODEL: {
    means:
      'The repository is read, and something in it is of a kind that flashmoe does not run. Nothing was fetched',
    remedy: 'the message names file and field; `flashmoe models` lists what runs',
  },
  ERR_SAFETENSORS: {
    means: 'A weight file is cut short, or its header contradicts itself',
    remedy: 'of a folder of your own: fetch the file again; of a repository: tell its owner',
  },
  ERR_GGUF: {
    means:
      'A GGUF file has a header that contradicts itself, or is one of several parts that do not fit together',
    remedy:
      'fetch it again or choose another file with `--file`; the message names file and tensor',
  },
  ERR_PLAN: {
    means: 'The plan of a model in the home is lost or contradicts its files. Nothing was changed',
    remedy: 'the hint says which command makes it again',
  },
  ERR_JOURNAL: {
    means:
      'A setup was begun with other choices than those that are asked for now. Nothing was changed',
    remedy: 'go on without the option that differs, or `flashmoe rm MODEL` and begin anew',
  },
  ERR_FORMAT: {
    means: 'A file in the home was written by a newer flashmoe. It was left as it is',
    remedy: 'update flashmoe',
  },
  ERR_MODEL_DAMAGED: {
    means: 'A file of the model is missing, or its bytes are not those that were written',
    remedy: '`flashmoe verify MODEL --repair` fetches the damaged blocks and nothing else',
  },
  ERR_MODEL_MISSING: {
    means: 'The model is not in the home, or its setup is not finished',
    remedy: '`flashmoe status` lists what is there; `flashmoe setup MODEL` fetches it or goes on',
  },
  ERR_DISK_FULL: {
    means: 'There is too little room. Everything that was written is kept',
    remedy:
      'free what the hint says, then run the command again; a running setup goes on by itself',
  },
  ERR_HOME: {
    means:
      'The folder of models and settings cannot be used as it is: not writable, a link, a volume that is not mounted, a broken file',
    remedy: 'the hint names the file or folder and what to do',
  },
  ERR_IO: {
    means: 'The disk refused to read or write. Everything that was finished is kept',
    remedy: 'run the command again; if it comes back, look after the disk',
  },
  ERR_LOCKED: {
    means: 'Another process is at work there',
    remedy: '`flashmoe status` says which; `flashmoe attach` watches it, `flashmoe stop` ends it',
  },
  ERR_OWNER_GONE: {
    means: 'The setup that was watched ended without a word. What it had finished is kept',
    remedy: 'run the same `flashmoe setup` again: it goes on from there',
  },
  ERR_DEADLINE: {
    means: 'The time that `--until` gave is over. Everything that was finished is kept',
    remedy: 'run the command again: it goes on from there',
  },
  ERR_PORT_IN_USE: {
    means: 'Another program listens on the port',
    remedy: '`flashmoe doctor` says which; `--port` takes another one',
  },
  ERR_TOOLCHAIN: {
    means: 'The engine has to be built here, and a tool for it is missing',
    remedy: 'the hint is the command that installs it',
  },
  ERR_ENGINE: {
    means: 'The native part is missing, of another version, or failed',
    remedy: '`flashmoe setup` builds it; `flashmoe doctor --self-test` checks what it computes',
  },
  ERR_BACKEND: {
    means: 'The backend that was asked for is not available on this machine',
    remedy: '`--backend cpu`, or `flashmoe config unset backend`',
  },
  ERR_SERVICE: {
    means: 'launchd or systemd refused, or is not there',
    remedy: '`flashmoe serve` runs the server without it; `flashmoe doctor` says more',
  },
  ERR_SERVER: {
    means: 'No server answers, it cannot listen, or it went away in the middle',
    remedy: '`flashmoe service status` and `flashmoe service logs`, or `flashmoe serve`',
  },
  ERR_CLIENT_CONFIG: {
    means: 'The configuration of a client cannot be changed safely. It was left as it is',
    remedy: '`flashmoe connect CLIENT --dry-run` prints what to add by hand',
  },
  ERR_KNOWN_ANSWER: {
    means: 'The model answers questions wrongly whose answers are known. Its files were kept',
    remedy: '`flashmoe verify MODEL` looks for a damaged file and asks again',
  },
  ERR_CONTEXT: {
    means: 'The prompt, with the answer that was asked for, is longer than the context',
    remedy: 'shorten it, lower the number of tokens to answer with, or raise `context`',
  },
  ERR_TEMPLATE: {
    means:
      "The model's chat template refuses these messages, fails, or takes too long; or the model has none",
    remedy:
      'the message says what the template said; `--chat-template FILE` gives a model another one',
  },
  ERR_GRAMMAR: {
    means: 'The JSON schema or the pattern of the request cannot be enforced',
    remedy: 'the message names the keyword; docs/api.md lists what is held',
  },
  ERR_ANSWER: {
    means:
      'The answer was held against its schema and does not fit. It was not passed on as if it did',
    remedy: 'ask again, with more tokens to answer with',
  },
  ERR_INTERRUPTED: {
    means:
      'It was stopped by Ctrl-C, a signal or a closed terminal. Everything that was finished is kept',
    remedy: 'run the command that the hint prints to go on',
  },
  ERR_INTERNAL: {
    means: 'A fault of flashmoe itself',
    remedy: 'run it again with `FLASHMOE_DEBUG=1` and report what it prints',
  },
};

const STATUSES: Record<ExitName, string> = {
  done: 'done',
  failed: 'failed: the message says why, and trying again alone does not help',
  usage: 'wrong usage: nothing was done',
  unavailable: 'something that is needed is not there now: network, lock, port, tool, backend',
  disk: 'no room, or the home cannot be used',
  resumable: 'run the same command again: it goes on from what is on disk',
  auth: 'token or permission',
  interrupted: 'interrupted by Ctrl-C, or left while another process goes on',
  terminated: 'ended by SIGTERM or a closed terminal',
};

export function troubleshootingPage(): string {
  const statuses = Object.entries(EXIT).map(
    ([name, status]) => `| ${status} | ${STATUSES[name as ExitName]} |`,
  );
  const codes = ERROR_CODES.map((code) => {
    const { means, remedy } = GUIDES[code];
    return `| \`${code}\` | ${exitStatus(code)} | ${means} | ${remedy} |`;
  });
  return `# Troubleshooting

Made from \`src/application/troubleshooting-page.ts\` by \`node tools/pages.mjs\`.

\`flashmoe doctor\` comes first: it changes nothing, says what is wrong, and prints the command that mends it. A setup that stopped goes
on when the same command is run again. With \`--json\` a failure is the last line, with \`code\`, \`message\`, \`hint\` and \`resumable\`; the
server's errors carry the same codes (docs/api.md).

## Codes

| code | exit | what happened | what to do |
| --- | --- | --- | --- |
${codes.join('\n')}

## Exit statuses

| status | means |
| --- | --- |
${statuses.join('\n')}

Results go to stdout, progress and messages to stderr.
`;
}
