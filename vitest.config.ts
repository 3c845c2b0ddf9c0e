import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'test/**/*.test.tsx'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Threads that src starts take its TypeScript as it is.
    execArgv: ['--import', new URL('test/helpers/ts-register.mjs', import.meta.url).href],
    // Two cores on the smallest machine we support: more workers only contend.
    maxWorkers: 2,
  },
});
