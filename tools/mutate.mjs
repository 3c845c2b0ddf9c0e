// How many small faults in a source its tests notice, by hand: `node tools/mutate.mjs src/server/guard.ts test/server/guard.test.ts
// [--every 3]`. One fault at a time is put into the file, the tests run, and the file is put back; --every takes each n-th.
// Prints the faults that nobody noticed, and the score.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import ts from 'typescript';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { every: { type: 'string', default: '1' } },
});
const [file, ...tests] = positionals;
if (file === undefined || tests.length === 0) {
  console.error('usage: node tools/mutate.mjs SOURCE TEST... [--every N]');
  process.exit(64);
}

const SWAPS = {
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '===': '!==',
  '!==': '===',
  '&&': '||',
  '||': '&&',
  '+': '-',
  '-': '+',
};

/** Places in the text and what stands there in a fault. */
function faultsOf(text) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const faults = [];
  const put = (node, by) =>
    faults.push({
      start: node.getStart(source),
      end: node.getEnd(),
      by,
      was: node.getText(source),
    });
  const visit = (node) => {
    // Types are no code.
    if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isImportDeclaration(node))
      return;
    if (ts.isBinaryExpression(node)) {
      const swap = SWAPS[node.operatorToken.getText(source)];
      if (swap !== undefined) put(node.operatorToken, swap);
    } else if (
      ts.isPrefixUnaryExpression(node) &&
      node.operator === ts.SyntaxKind.ExclamationToken
    ) {
      put(node, node.operand.getText(source));
    } else if (node.kind === ts.SyntaxKind.TrueKeyword) put(node, 'false');
    else if (node.kind === ts.SyntaxKind.FalseKeyword) put(node, 'true');
    else if (ts.isIfStatement(node)) put(node.expression, 'false');
    else if (ts.isConditionalExpression(node)) put(node, node.whenFalse.getText(source));
    else if (ts.isExpressionStatement(node) && !ts.isBinaryExpression(node.expression))
      put(node, ';');
    ts.forEachChild(node, visit);
  };
  visit(source);
  return faults;
}

const text = readFileSync(file, 'utf8');
const { atime, mtime } = statSync(file);
/** With the times of before: dist/ need not be built again. */
const write = (content) => {
  writeFileSync(file, content);
  utimesSync(file, atime, mtime);
};
let running = null;
const areNoticed = async () => {
  running = spawn('npx', ['vitest', 'run', ...tests, '--bail=1', '--reporter=dot'], {
    stdio: 'ignore',
    timeout: 300_000,
  });
  const [status] = await once(running, 'close');
  return status !== 0;
};
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    running?.kill(signal);
    write(text);
    process.exit(130);
  });
}

if (await areNoticed()) {
  console.error('the tests fail as it is');
  process.exit(1);
}
const faults = faultsOf(text).filter((_, index) => index % Number(values.every) === 0);
let noticed = 0;
try {
  for (const { start, end, by, was } of faults) {
    write(text.slice(0, start) + by + text.slice(end));
    if (await areNoticed()) noticed += 1;
    else {
      const { line } = ts.getLineAndCharacterOfPosition(ts.createSourceFile(file, text, 0), start);
      console.log(
        `${file}:${line + 1} nobody notices ${JSON.stringify(by)} for ${JSON.stringify(was)}`,
      );
    }
  }
} finally {
  write(text);
}
console.log(`${file}: ${noticed} of ${faults.length} faults noticed`);
