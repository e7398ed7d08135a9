import { defineConfig } from 'vitest/config';
import { tfjsAliases } from './test/helpers/tfjs-bundle.js';

export default defineConfig(async () => ({
  resolve: { alias: await tfjsAliases() },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/helpers/run-folder.ts', 'test/e2e/global-setup.ts'],
    testTimeout: 30_000,
    pool: 'forks' as const,
    maxWorkers: 2,
    // On a machine with a GPU too, the CPU is what these tests are of; see `npm run test:cuda`.
    env: { LLMKIT_DEVICE: process.env.LLMKIT_DEVICE ?? 'cpu' },
  },
}));
