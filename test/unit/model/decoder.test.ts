import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Decoder } from '../../../src/model/decoder.js';
import { initModel } from '../../../src/model/load.js';
import { scoreRows } from '../../../src/model/score.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { memory, profile, slice, type Tensor, tidy } from '../../../src/tensor/tfjs.js';
import { argmax } from '../../helpers/argmax.js';
import { expectClose } from '../../helpers/expect-close.js';

const gpt2 = {
  model_type: 'gpt2',
  vocab_size: 20,
  n_embd: 8,
  n_layer: 2,
  n_head: 2,
  n_positions: 80,
  initializer_range: 0.5,
};
const logSumExp = (row: readonly number[]) =>
  Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
const values = (tensor: Tensor | undefined) => Array.from(tensor?.dataSync() ?? []);
let model: Decoder;

beforeAll(async () => {
  await useBackend();
  model = initModel(gpt2, 3);
});
afterAll(() => model.dispose());

describe('initModel', () => {
  test('one seed, one model', () => {
    const name = 'transformer.h.1.mlp.c_fc.weight';
    const [same, other] = [initModel(gpt2, 3), initModel(gpt2, 4)];
    expect(values(same.parameters.get(name))).toEqual(values(model.parameters.get(name)));
    expect(values(other.parameters.get(name))).not.toEqual(values(model.parameters.get(name)));
    same.dispose();
    other.dispose();
  });

  test('normal weights of the deviation the config says, zero biases, norms of one', () => {
    const deviation = (name: string) => {
      const all = values(model.parameters.get(name));
      return Math.sqrt(all.reduce((sum, value) => sum + value * value, 0) / all.length);
    };
    expect(deviation('transformer.h.0.mlp.c_fc.weight')).toBeCloseTo(0.5, 1);
    expect(deviation('transformer.h.0.mlp.c_proj.weight')).toBeCloseTo(0.25, 1);
    expect(new Set(values(model.parameters.get('transformer.ln_f.weight')))).toEqual(new Set([1]));
    expect(new Set(values(model.parameters.get('transformer.ln_f.bias')))).toEqual(new Set([0]));
  });
});

describe('forward', () => {
  test('refuses what it cannot compute', () => {
    const cache = model.newCache(1);
    const ids = [1, 2];
    expect(() => model.forward([])).toThrow('at least one token');
    expect(() => model.forward([{ ids: [1, 20] }])).toThrow('token ids must be below 20, got 20');
    expect(() => model.forward([{ ids: [1.5] }])).toThrow('got 1.5');
    expect(() => model.forward([{ ids: new Array(81).fill(1) }])).toThrow(
      "at most 80 tokens, the model's learned positions, got 81",
    );
    expect(() => model.forward([{ ids }, { ids }], { cache })).toThrow(
      '1 rows as in the cache, got 2',
    );
    expect(() => model.forward([{ ids, segmentLengths: [1] }])).toThrow('sum to 2 tokens, got 1');
    expect(() => model.forward([{ ids, segmentLengths: [2] }], { cache })).toThrow(
      'do not go together',
    );
  });

  test('activations of a layer are freed before the next', async () => {
    const peakOf = async (n_layer: number) => {
      const deep = initModel({ ...gpt2, n_layer }, 1);
      const start = memory().numBytes;
      const { peakBytes } = await profile(() =>
        deep.forward([{ ids: new Array(60).fill(1) }]).dispose(),
      );
      deep.dispose();
      return peakBytes - start;
    };
    expect(await peakOf(6)).toBe(await peakOf(2));
  });

  test('a failed forward leaves the cache as it was', () => {
    const cache = model.newCache(1);
    tidy(() => model.forward([{ ids: [1] }], { cache }));
    expect(() => model.forward([{ ids: [99] }], { cache })).toThrow();
    expect(cache.lengths).toEqual([1]);
    cache.dispose();
  });
});

describe('KvCache', () => {
  const last = (rows: number[][], cache?: ReturnType<Decoder['newCache']>) =>
    tidy(() => {
      const hidden = model.forward(
        rows.map((ids) => ({ ids })),
        cache ? { cache } : {},
      );
      return values(slice(hidden, [0, hidden.shape[1] - 1, 0], [rows.length, 1, -1]));
    });

  test('select and truncate continue the rows that are kept, over a page of growth', () => {
    const before = memory().numTensors;
    const ids = Array.from({ length: 70 }, (_, i) => (i * 7) % 20);
    const cache = model.newCache(2);
    last([ids, ids.toReversed()], cache);
    cache.select([1, 1, 0]);
    expect(cache.lengths).toEqual([70, 70, 70]);
    cache.truncate(62);
    const [reversed, straight] = [ids.toReversed().slice(0, 62), ids.slice(0, 62)];
    const cached = last([[4], [5], [6]], cache);
    const whole = last([
      [...reversed, 4],
      [...reversed, 5],
      [...straight, 6],
    ]);
    expectClose(cached, whole);
    expect(cache.rows[2]).toEqual([...straight, 6]);
    expect(() => cache.select([3])).toThrow('no row 3');
    cache.dispose();
    expect(memory().numTensors).toBe(before);
  });

  test('a hundred tokens leave no tensor behind', () => {
    const empty = memory().numTensors;
    const cache = model.newCache(1);
    for (const id of [1, 2, 3]) last([[id]], cache); // by then a step is recorded
    const before = memory().numTensors;
    for (let i = 0; i < 100; i++) {
      last([[i % 20]], cache);
      if (cache.lengths[0] === 60) cache.truncate(1);
    }
    expect(memory().numTensors).toBe(before);
    cache.dispose();
    expect(memory().numTensors).toBe(empty);
  });
});

describe.each(['f32', 'bf16', 'int8'] as const)('a KvCache in %s', (dtype) => {
  const ids = Array.from({ length: 75 }, (_, i) => (i * 7) % 20);
  const others = ids.toReversed();

  /** Hidden states of `ids`, so many tokens a pass, as row 1 of 2 or alone. */
  const states = (chunks: readonly number[], beside: boolean) => {
    const cache = model.newCache(beside ? 2 : 1, dtype);
    let start = 0;
    const parts = chunks.map((count) => {
      const end = start + count;
      const mine = { ids: ids.slice(start, end) };
      // The other row ends one token earlier.
      const rows = beside
        ? [{ ids: others.slice(start, end - (end === 75 ? 1 : 0)) }, mine]
        : [mine];
      start = end;
      return tidy(() => {
        const hidden = model.forward(rows, { cache });
        return values(slice(hidden, [beside ? 1 : 0, 0, 0], [1, count, -1]));
      });
    });
    cache.dispose();
    return parts.flat();
  };

  test('gives the same bits however the prompt is cut, alone or beside another', () => {
    const whole = states([75], false);
    for (const chunks of [[75], [1, 4, 65, 5], [70, 1, 1, 1, 1, 1]]) {
      expect(states(chunks, false)).toEqual(whole);
      expect(states(chunks, true)).toEqual(whole);
    }
  });

  test('is near to no cache at all, and equal in f32', () => {
    const cached = states([75], false);
    const uncached = tidy(() => values(model.forward([{ ids }])));
    const largest = Math.max(...uncached.map(Math.abs));
    const difference = Math.max(...cached.map((x, i) => Math.abs(x - (uncached[i] as number))));
    if (dtype === 'f32') expect(difference).toBe(0);
    else expect(difference).toBeGreaterThan(0);
    expect(difference).toBeLessThan(0.05 * largest);
  });
});

describe('scoreRows', () => {
  test('log-probabilities and the greedy choice of the wanted ids', async () => {
    const before = memory().numTensors;
    const rows = [
      { ids: [3, 1, 4, 1, 5], from: 2 },
      { ids: [9, 2], from: 1 },
      { ids: [6], from: 1 },
    ];
    const scores = await scoreRows(model, rows);
    rows.forEach(({ ids, from }, b) => {
      const logits = tidy(() => values(model.logits(model.forward([{ ids }]))));
      ids.slice(from).forEach((id, i) => {
        const row = logits.slice((from + i - 1) * 20, (from + i) * 20);
        expect(scores[b]?.logprobs[i]).toBeCloseTo((row[id] ?? 0) - logSumExp(row), 5);
        expect(scores[b]?.greedy[i]).toBe(argmax(row) === id);
      });
      expect(scores[b]?.logprobs.length).toBe(ids.length - from);
    });
    expect(memory().numTensors).toBe(before);
  });

  test('a row may be one longer than the context', async () => {
    const [score] = await scoreRows(model, [{ ids: new Array(81).fill(2), from: 80 }]);
    expect(score?.logprobs.length).toBe(1);
  });

  test('lets signals through after each layer', async () => {
    let turns = 0;
    let waiting = setImmediate(function count() {
      turns++;
      waiting = setImmediate(count);
    });
    await scoreRows(model, [{ ids: [1, 2], from: 1 }]);
    clearImmediate(waiting);
    expect(turns).toBeGreaterThanOrEqual(model.config.numLayers);
  });

  test('from is at least 1 and within the row', async () => {
    await expect(scoreRows(model, [{ ids: [1, 2], from: 0 }])).rejects.toThrow(
      'from must be in 1..2',
    );
    await expect(scoreRows(model, [{ ids: [1, 2], from: 3 }])).rejects.toThrow('got 3');
  });
});
