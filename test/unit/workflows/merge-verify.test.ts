import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { loadModel } from '../../../src/model/load.js';
import { type AdapterFile, loadAdapter, readAdapter } from '../../../src/tune/peft/index.js';
import {
  makeProbe,
  type Probe,
  probeDivergence,
  probeScores,
  roundingEffect,
  verifyMerge,
} from '../../../src/workflows/merge/verify.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';

const FOLDER = join('fixtures', 'models', 'tiny-gpt2');

describe('verification', () => {
  const scores = Float64Array.of(-1, -2, -3);
  const shifted = (by: number) => scores.map((score) => score + by);

  test('accepts what float32 rounding explains and no more', () => {
    expect(verifyMerge(scores, shifted(9e-5), undefined)).toEqual({
      probe_tokens: 3,
      max_difference: expect.closeTo(9e-5, 10),
      allowed_difference: 1e-4,
    });
    expect(() => verifyMerge(scores, shifted(1.1e-4), undefined)).toThrow(/1\.10e-4.*nothing/);
    expect(() =>
      verifyMerge(
        scores,
        scores.map(() => Number.NaN),
        undefined,
      ),
    ).toThrow(/NaN/);
    expect(() => verifyMerge(scores, scores.slice(1), undefined)).toThrow();
  });

  test('accepts twice what rounding to 16 bits does by itself', () => {
    expect(verifyMerge(scores, shifted(0.019), 0.01).allowed_difference).toBe(0.02);
    expect(() => verifyMerge(scores, shifted(0.021), 0.01)).toThrow(/2\.00e-2/);
  });
});

describe('the probe on a model', () => {
  let model: Decoder;
  let adapter: AdapterFile;
  let probe: Probe;

  beforeAll(async () => {
    await useTestBackend(testedBackends[0] ?? 'reference');
    const checkpoint = await openCheckpoint(FOLDER);
    model = await loadModel(checkpoint);
    probe = makeProbe(model, undefined);
    adapter = await readAdapter(join(FOLDER, 'adapter'));
    await loadAdapter(model, adapter.folder);
    return () => {
      model.dispose();
      checkpoint.close();
    };
  });

  test('scores 256 tokens, in rows no longer than the context', async () => {
    expect(probe.reduce((sum, { ids }) => sum + ids.length - 1, 0)).toBe(256);
    for (const { ids } of probe) expect(ids.length - 1).toBeLessThanOrEqual(model.config.maxLength);
    expect((await probeScores(model, probe)).length).toBe(256);
  });

  test('a text that makes too few ids is repeated', () => {
    const [row] = makeProbe(model, () => [3, 1, 2]);
    expect(row?.ids.slice(0, 5)).toEqual([3, 1, 2, 3, 1]);
  });

  test('rounding to float32 has no effect, to bfloat16 a small one; the model stays as it was', async () => {
    const before = await probeScores(model, probe);
    const all = (dtype: 'F32' | 'BF16') =>
      new Map([...model.linears.keys()].map((name) => [name, dtype] as const));
    expect(await roundingEffect(model, adapter, { probe, dtypes: all('F32') })).toBe(0);
    const effect = await roundingEffect(model, adapter, { probe, dtypes: all('BF16') });
    expect(effect).toBeGreaterThan(1e-4);
    expect(effect).toBeLessThan(0.5);
    expect(await probeScores(model, probe)).toEqual(before);
  });

  test('the divergence of a model from itself is 0, from another positive', async () => {
    const checkpoint = await openCheckpoint(FOLDER);
    const base = await loadModel(checkpoint);
    expect(await probeDivergence(model, model, probe)).toBeCloseTo(0, 6);
    expect(await probeDivergence(model, base, probe)).toBeGreaterThan(1e-4);
    base.dispose();
    checkpoint.close();
  });
});
