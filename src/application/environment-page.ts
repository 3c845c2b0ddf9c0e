// docs/environment.md: every variable that flashmoe reads.

interface Variable {
  names: readonly string[];
  means: string;
}

const GROUPS: readonly { title: string; variables: readonly Variable[] }[] = [
  {
    title: 'flashmoe',
    variables: [
      {
        names: ['FLASHMOE_HOME'],
        means: 'models, engine, logs and settings; `~/.flashmoe` when unset',
      },
      {
        names: ['FLASHMOE_API_KEY'],
        means:
          'the key that `serve` demands, needed for any address but loopback; `chat`, `ps` and `share` send it',
      },
      {
        names: ['FLASHMOE_FAST_API_KEY'],
        means: 'the key for the endpoint of `serve --fast-upstream`',
      },
      { names: ['FLASHMOE_ADDON'], means: 'the native addon to load in place of looking for one' },
      { names: ['FLASHMOE_DEBUG'], means: 'with any value, a failure prints its stack' },
      {
        names: ['FLASHMOE_JOB'],
        means: 'set by flashmoe for a setup that launchd or systemd runs; not for you',
      },
      { names: ['CXX'], means: 'the compiler of the engine' },
      { names: ['PATH'], means: 'where compilers, launchctl or systemctl, and clients are found' },
    ],
  },
  {
    title: 'The hub',
    variables: [
      { names: ['HF_ENDPOINT'], means: 'another hub, a mirror for instance' },
      {
        names: ['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'],
        means: '`1`, `on`, `yes` or `true`: no request leaves the machine',
      },
      {
        names: ['HF_TOKEN', 'HF_TOKEN_PATH'],
        means: 'the token for gated repositories, or the file that holds it',
      },
      { names: ['HF_HUB_DISABLE_IMPLICIT_TOKEN'], means: 'no token is looked for' },
      {
        names: ['HF_HOME', 'XDG_CACHE_HOME'],
        means: 'where the token and the downloads of other tools lie',
      },
      {
        names: ['HF_HUB_ETAG_TIMEOUT', 'HF_HUB_DOWNLOAD_TIMEOUT'],
        means: 'seconds to wait for an answer, and for the next bytes of one',
      },
      { names: ['HTTPS_PROXY', 'ALL_PROXY'], means: 'the proxy for https, also in small letters' },
      { names: ['NO_PROXY'], means: 'hosts that are asked without it, also in small letters' },
      {
        names: ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS'],
        means: 'further certificates that are trusted, where a network inspects TLS',
      },
    ],
  },
  {
    title: 'The terminal',
    variables: [
      { names: ['NO_COLOR', 'FORCE_COLOR'], means: 'colour off, on; `--color` is stronger' },
      {
        names: ['TERM', 'CI'],
        means: '`dumb`, or a value of `CI`: plain lines in place of the wizard',
      },
      { names: ['LC_ALL', 'LC_CTYPE', 'LANG'], means: 'whether letters beyond ASCII are drawn' },
    ],
  },
  {
    title: 'Files of clients, for `connect` and `launch`',
    variables: [
      {
        names: [
          ...['CLAUDE_CONFIG_DIR', 'CLINE_DATA_DIR', 'CODEX_HOME', 'CONTINUE_GLOBAL_DIR'],
          ...['OPENCLAW_CONFIG_PATH', 'OPENCODE_CONFIG', 'PI_CODING_AGENT_DIR', 'QWEN_HOME'],
          'XDG_CONFIG_HOME',
        ],
        means: "where the client looks for its configuration, in the client's own words",
      },
    ],
  },
];

/** What the page tells of; a test holds it against the sources. */
export const VARIABLES: readonly string[] = GROUPS.flatMap(({ variables }) =>
  variables.flatMap(({ names }) => names),
);

export function environmentPage(): string {
  const groups = GROUPS.map(({ title, variables }) => {
    const rows = variables.map(
      ({ names, means }) => `| ${names.map((name) => `\`${name}\``).join(', ')} | ${means} |`,
    );
    return `## ${title}\n\n| variable | meaning |\n| --- | --- |\n${rows.join('\n')}\n`;
  });
  return `# Environment

Made from \`src/application/environment-page.ts\` by \`node tools/pages.mjs\`. What is to stay belongs into \`settings.json\`:
\`flashmoe config list\`, docs/settings.md.

${groups.join('\n')}`;
}
