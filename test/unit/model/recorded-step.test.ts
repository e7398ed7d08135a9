import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../../src/model/decoder.js';
import type { KvCache } from '../../../src/model/kv-cache.js';
import type { Linear } from '../../../src/model/linear.js';
import { loadModel } from '../../../src/model/load.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import type { NativeBackend } from '../../../src/tensor/backends/native-backend.js';
import { backend, memory, mul, tidy } from '../../../src/tensor/tfjs.js';
import { tinyModels } from '../../helpers/tiny-models.js';

/** Steps of two rows of tokens: one each. The second is recorded, those behind it are run again. */
const TOKENS = [
  [3, 1],
  [4, 1],
  [5, 9],
  [6, 2],
  [5, 3],
];
const onNative = ['', 'native'].includes(process.env.LLMKIT_BACKEND ?? '');

beforeAll(async () => {
  await useBackend(onNative ? 'native' : undefined, { device: 'cpu' });
  if (!onNative) process.stderr.write('skipped: recorded steps (only native records them)\n');
});
afterEach(() => vi.restoreAllMocks());

interface DecodeOptions {
  /** Run every step from JavaScript. */
  readonly plainly?: boolean;
  /** Called before each step. */
  readonly before?: (step: number, cache: KvCache) => void;
}

/** Logits of each step. */
function decode(model: Decoder, { plainly = false, before }: DecodeOptions = {}): number[][] {
  const cache = model.newCache(2);
  if (plainly) vi.spyOn(cache.step, 'forward').mockReturnValue(undefined);
  model.forward([{ ids: [1, 2] }, { ids: [7] }], { cache }).dispose();
  const steps = TOKENS.map((ids, step) => {
    before?.(step, cache);
    return tidy(() => Array.from(model.next(ids.slice(0, cache.lengths.length), cache).dataSync()));
  });
  cache.dispose();
  return steps;
}

function replays() {
  return vi.spyOn((backend() as NativeBackend).addon, 'replay');
}

describe.runIf(onNative)('a recorded step', () => {
  test.each(tinyModels)('gives the bits of one that is not: %s', async (folder) => {
    const model = await loadModel(await openCheckpoint(folder));
    const run = replays();
    const { numTensors } = memory();
    const steps = decode(model);
    expect(run).toHaveBeenCalledTimes(TOKENS.length - 2);
    expect(memory().numTensors).toBe(numTensors);
    expect(steps).toEqual(decode(model, { plainly: true }));
    model.dispose();
  });

  describe('is recorded anew', () => {
    let model: Decoder;
    beforeAll(async () => {
      model = await loadModel(await openCheckpoint('fixtures/models/tiny-llama'));
    });
    afterAll(() => model.dispose());

    test('when rows are chosen', () => {
      const before = (step: number, cache: KvCache) => {
        if (step === 3) cache.select([1]);
      };
      const run = replays();
      expect(decode(model, { before })).toEqual(decode(model, { before, plainly: true }));
      expect(run).toHaveBeenCalledTimes(1);
    });

    test('when another cache is disposed of, which the addon cannot tell from its own', () => {
      const before = (step: number) => {
        if (step !== 3) return;
        const other = model.newCache(1);
        model.forward([{ ids: [1] }], { cache: other }).dispose();
        other.dispose();
      };
      const run = replays();
      expect(decode(model, { before })).toEqual(decode(model, { before, plainly: true }));
      expect(run.mock.results.map(({ value }) => value)).toEqual([true, false]);
    });

    test('when a layer is wrapped', () => {
      const name = 'model.layers.0.mlp.down_proj';
      const before = (step: number) => {
        if (step === 3) model.wrapLinear(name, doubled);
      };
      const steps = decode(model, { before });
      model.wrapLinear(name, (layer) => (layer as Doubled).inner);
      expect(steps).toEqual(decode(model, { before, plainly: true }));
      model.wrapLinear(name, (layer) => (layer as Doubled).inner);
    });
  });
});

interface Doubled extends Linear {
  readonly inner: Linear;
}

function doubled(inner: Linear): Doubled {
  return {
    ...inner,
    inner,
    frozen: () => undefined,
    variables: () => [],
    forward: (x, context) => mul(inner.forward(x, context), 2),
  };
}
