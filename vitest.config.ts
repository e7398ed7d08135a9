import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { tfjsAliases } from './test/helpers/tfjs-bundle.js';

/** What takes long, the longest first: last, each would have one processor and the others nothing. */
const LONGEST = [
  'e2e/cuda-bundled-model',
  'e2e/quickstart',
  'e2e/docs',
  'e2e/memory',
  'e2e/bench',
  'e2e/cuda',
  'tensor/linears',
  'parity/families',
];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const found = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return found < 0 ? LONGEST.length : found;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig(async () => ({
  resolve: { alias: await tfjsAliases() },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/helpers/run-folder.ts', 'test/e2e/global-setup.ts'],
    testTimeout: 30_000,
    pool: 'forks' as const,
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    // On a machine with a GPU too, the CPU is what these tests are of; see `npm run test:cuda`.
    env: { LLMKIT_DEVICE: process.env.LLMKIT_DEVICE ?? 'cpu' },
  },
}));
