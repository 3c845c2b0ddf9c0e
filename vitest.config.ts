import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts', 'test/**/*.test.tsx'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    globalSetup: 'test/helpers/built-sources.ts',
    // Two cores on the smallest machine we support: more workers only contend.
    maxWorkers: 2,
  },
});
