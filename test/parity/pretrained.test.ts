import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../src/model/decoder.js';
import { loadModel } from '../../src/model/load.js';
import { scoreRows } from '../../src/model/score.js';
import { slice, tidy } from '../../src/tensor/tfjs.js';
import { argmax } from '../helpers/argmax.js';
import { testedBackends, useTestBackend } from '../helpers/backends.js';
import { sharedData } from '../helpers/shared-data.js';

interface Case {
  readonly prompt_ids: number[];
  readonly generated_ids: number[];
  readonly logprobs: number[];
}

interface StoriesReference {
  readonly logits_ids: number[];
  readonly cases: Case[];
}

const stories = sharedData('stories260k-hf');
const base = sharedData('base-llama-6m');

const readReference = (folder = '') =>
  JSON.parse(readFileSync(join(folder, 'reference.json'), 'utf8'));

/** Loads a model for the time of a test. */
async function withModel(
  folder: string | undefined,
  run: (model: Decoder) => void | Promise<void>,
): Promise<void> {
  const checkpoint = await openCheckpoint(folder ?? '');
  const model = await loadModel(checkpoint);
  try {
    await run(model);
  } finally {
    model.dispose();
    checkpoint.close();
  }
}

/** Greedy continuation with a cache. */
function greedy(model: Decoder, prompt: readonly number[], count: number): number[] {
  const cache = model.newCache(1);
  const ids: number[] = [];
  let next: readonly number[] = prompt;
  while (ids.length < count) {
    const logits = tidy(() => {
      const hidden = model.forward([{ ids: next }], { cache });
      return model.logits(slice(hidden, [0, hidden.shape[1] - 1, 0], [1, 1, -1])).dataSync();
    });
    next = [argmax(logits)];
    ids.push(...next);
  }
  cache.dispose();
  return ids;
}

function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  return Array.from(expected).reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (actual[i] ?? Number.NaN))),
    0,
  );
}

describe.each(testedBackends)('%s', (backend) => {
  // The reference backend is slow: it gets a part of the cases.
  const part = <T>(values: readonly T[], count: number) =>
    backend === 'native' ? values : values.slice(0, count);
  beforeAll(() => useTestBackend(backend));

  test.skipIf(stories === undefined)('stories260k: logits within 3e-5', () =>
    withModel(stories, (model) => {
      const bytes = readFileSync(join(stories ?? '', 'reference_logits.f32'));
      const expected = new Float32Array(new Uint8Array(bytes).buffer);
      const { logits_ids: ids }: StoriesReference = readReference(stories);
      const logits = tidy(() => model.logits(model.forward([{ ids }])).dataSync());
      expect(largestDifference(logits, expected)).toBeLessThan(3e-5);
    }),
  );

  test.skipIf(stories === undefined)('stories260k: greedy ids and log-probabilities', () =>
    withModel(stories, async (model) => {
      const { cases }: StoriesReference = readReference(stories);
      for (const { prompt_ids: prompt, generated_ids: generated, logprobs } of part(cases, 1)) {
        const expected = part(generated, 40);
        expect(greedy(model, prompt, expected.length)).toEqual(expected);
        const [score] = await scoreRows(model, [{ ids: [...prompt, ...generated], from: 1 }]);
        expect(largestDifference(score?.logprobs ?? [], logprobs)).toBeLessThan(1e-4);
      }
    }),
  );

  test.skipIf(stories === undefined)('a sharded checkpoint gives the same bits', async () => {
    const { logits_ids: ids }: StoriesReference = readReference(stories);
    const score = async (folder: string | undefined) => {
      let scores: unknown;
      await withModel(folder, async (model) => {
        scores = await scoreRows(model, [{ ids, from: 1 }]);
      });
      return scores;
    };
    expect(await score(sharedData('stories260k-hf-sharded'))).toEqual(await score(stories));
  });

  test.skipIf(stories === undefined)('a bf16 checkpoint computes with its rounded weights', () =>
    withModel(sharedData('stories260k-hf-bf16'), async (rounded) => {
      const { logits_ids: ids }: StoriesReference = readReference(stories);
      const [score] = await scoreRows(rounded, [{ ids, from: 1 }]);
      await withModel(stories, async (exact) => {
        const [expected] = await scoreRows(exact, [{ ids, from: 1 }]);
        const difference = largestDifference(score?.logprobs ?? [], expected?.logprobs ?? []);
        expect(difference).toBeGreaterThan(1e-4);
        expect(difference).toBeLessThan(0.1);
      });
    }),
  );

  test.skipIf(base === undefined)('base-llama-6m: greedy ids and log-probabilities', () =>
    withModel(base, async (model) => {
      const { greedy: cases }: { greedy: Case[] } = readReference(base);
      for (const { prompt_ids: prompt, generated_ids: generated, logprobs } of part(cases, 1)) {
        const expected = part(generated, 8);
        expect(greedy(model, prompt, expected.length)).toEqual(expected);
        const row = { ids: [...prompt, ...generated], from: prompt.length };
        const [score] = await scoreRows(model, [row]);
        expect(largestDifference(score?.logprobs ?? [], logprobs)).toBeLessThan(1e-4);
      }
    }),
  );
});
