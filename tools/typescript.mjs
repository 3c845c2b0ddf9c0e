// Loads a module of src/ as it is now, without a build.
import { build } from 'esbuild';

/** @param {string | URL} path */
export async function importTypeScript(path) {
  const { outputFiles } = await build({
    entryPoints: [path instanceof URL ? path.pathname : path],
    bundle: true,
    platform: 'node',
    format: 'esm',
    write: false,
    logLevel: 'error',
  });
  const [{ contents }] = outputFiles;
  return import(`data:text/javascript;base64,${Buffer.from(contents).toString('base64')}`);
}
