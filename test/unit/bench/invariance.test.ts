import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import type { BenchContext } from '../../../bench/context.js';
import type { Contender, Figures } from '../../../bench/measure/work.js';
import { parseOptions } from '../../../bench/options.js';
import { driverPath } from '../../../bench/paths.js';
import { NO_PEERS } from '../../../bench/peers/index.js';
import { withoutInvariance } from '../../../bench/works/invariance.js';
import type { Variant } from '../../../bench/works/variants.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

/** Stands in for generate.js: a prompt takes 2 s and a step 0.5 s, but 1 s and 0.25 s the way that is looked for. */
const DRIVER = `
  const { model, compute, runs } = JSON.parse(process.argv[2]);
  if (model === process.env.LLMKIT_TEST_TOO_BIG) throw new Error('out of memory');
  const isPlain = model === 'bf16' && compute === 'bf16' && !process.env.LLMKIT_ISA;
  const usesDots = process.env.LLMKIT_ISA === 'avx512';
  const times = { promptSeconds: isPlain ? 1 : 2, stepSeconds: usesDots ? 0.25 : 0.5 };
  console.log(JSON.stringify({ loadSeconds: 0, runs: runs.map(() => times) }));
`;

function contextOf(root: string): BenchContext {
  const driver = driverPath(root, 'generate');
  mkdirSync(dirname(driver), { recursive: true });
  writeFileSync(driver, DRIVER);
  return {
    options: parseOptions(['cpu', '--shape', 'tiny']),
    root,
    // Checkpoints are known by how they are stored.
    models: {
      folder: root,
      checkpoint: async (_, weights) => weights,
      hasCheckpoint: () => true,
      gguf: async () => undefined,
    },
    peers: NO_PEERS,
    text: '',
  };
}

/** Everything that the contenders find; one that fails gives nothing. */
async function measured(contenders: readonly Contender[]): Promise<Figures> {
  const work: Figures[] = await Promise.all(
    contenders.map(({ measure }) => measure().catch(() => ({}))),
  );
  return Object.assign({}, ...work);
}

const SIZES = { threads: 2, promptTokens: 512, newTokens: 64 };

test('prompts take the arithmetic of 16-bit weights, tokens in bf16 that of dot products', async () => {
  const context = contextOf(temporaryFolder());
  const figures = async (weights: Variant['weights'], compute: Variant['compute']) => {
    const variant: Variant = { weights, compute, gguf: [], node: false };
    return measured(await withoutInvariance(context, variant, SIZES));
  };
  const decode = process.arch === 'x64' ? { decode: 4 } : {};
  expect(await figures('int4', 'bf16')).toEqual({ prefill: 512, ...decode });
  expect(await figures('int4', 'int8')).toEqual({ prefill: 512 });
  expect(await figures('bf16', 'bf16')).toEqual(decode);
});

test.runIf(process.arch === 'x64')(
  'a model too large for prompts leaves the figure of tokens',
  async () => {
    const context = contextOf(temporaryFolder());
    const variant: Variant = { weights: 'int4', compute: 'bf16', gguf: [], node: false };
    const contenders = await withoutInvariance(context, variant, SIZES);
    vi.stubEnv('LLMKIT_TEST_TOO_BIG', 'bf16');
    expect(await measured(contenders)).toEqual({ decode: 4 });
  },
);

afterEach(() => {
  vi.unstubAllEnvs();
});
