import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // tfjs-core's ES modules import without extensions: Node cannot load them, vite can.
    server: { deps: { inline: [/@tensorflow\/tfjs/] } },
    testTimeout: 30_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
