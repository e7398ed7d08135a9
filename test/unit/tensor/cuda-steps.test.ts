import { describe, expect, test } from 'vitest';
import { drawKey, uniformAt } from '../../../src/generate/random.js';
import { newDecodeSteps, recordsSteps } from '../../../src/tensor/backends/decode-steps.js';
import {
  type DecodeSteps,
  type DecodeStepsShape,
  formOf,
} from '../../../src/tensor/decode-steps.js';
import { chooseToken, type Sampling } from '../../../src/tensor/sampling.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { useCuda } from '../../helpers/cuda.js';

const addon = await useCuda();

const GREEDY = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 };
const SEED = 11;
const LOGITS = [0.1, 2, -1, 0.5, 1.9, 0, 1.2];
const V = LOGITS.length;
const SHAPE: DecodeStepsShape = {
  rows: 2,
  capacity: 40,
  vocabSize: V,
  numLayers: 0,
  sampling: formOf(GREEDY, V),
  windows: [3],
  tableOffset: 2,
  angles: {
    half: 2,
    cos: Float32Array.from({ length: 40 }, (_, i) => i),
    sin: Float32Array.from({ length: 40 }, (_, i) => -i),
  },
};
/** Rows of different lengths and streams, which have drawn three and no tokens so far. */
const ROWS = [
  { id: 3, position: 5, stream: 4, drawn: 3, seen: [1] },
  { id: 0, position: 1, stream: 9, drawn: 0, seen: [] },
];

function place(steps: DecodeSteps, sampling: Sampling = GREEDY, seed = SEED): void {
  steps.place({ rows: ROWS, caches: [], sampling, drawKey: drawKey(seed) });
}

/** The same logits at every step, so that tokens change with what the steps remember only. */
function withSteps(sampling: Sampling, use: (steps: DecodeSteps) => void): void {
  const logits = tf.tensor2d([...LOGITS, ...LOGITS], [2, V]);
  const steps = newDecodeSteps({ ...SHAPE, sampling: formOf(sampling, V) });
  try {
    place(steps, sampling);
    expect(steps.record(() => tf.tidy(() => steps.end(tf.clone(logits))))).toBe(true);
    use(steps);
  } finally {
    steps.dispose();
    logits.dispose();
  }
}

/** Tokens of so many steps, read one step behind. */
function tokensOf(steps: DecodeSteps, count: number): number[][] {
  return Array.from({ length: count }, (_, i) => {
    if (i + 1 < count) steps.replay();
    return [...steps.read()];
  });
}

const values = (x: tf.Tensor | undefined) => [...(x as tf.Tensor).dataSync()];

describe('steps on the device', () => {
  test('each goes on where the one before it ended', () => {
    expect(recordsSteps()).toBe(true);
    withSteps(GREEDY, (steps) => {
      expect(tokensOf(steps, 4)).toEqual([1, 2, 3, 4].map(() => [1, 1]));
      expect(values(steps.ids)).toEqual([1, 1]);
      expect(values(steps.positions)).toEqual([9, 5]);
      expect(values(steps.firsts.get(3))).toEqual([7, 3]);
      expect(values(steps.firsts.get(undefined))).toEqual([0, 0]);
      expect(values(steps.tableRows)).toEqual([11, 7]);
      expect(values(steps.angles?.cos)).toEqual([18, 19, 10, 11]);
      expect(values(steps.angles?.sin)).toEqual([-18, -19, -10, -11]);
    });
  });

  test('draw what the host would draw, with other numbers too', () => {
    const drawn = (sampling: Sampling, seed: number) =>
      Array.from({ length: 12 }, (_, i) =>
        ROWS.map(({ stream, drawn }) =>
          chooseToken(Float32Array.from(LOGITS), [], sampling, uniformAt(seed, stream, drawn + i)),
        ),
      );
    const sampling = { ...GREEDY, temperature: 1.5, topK: 5, topP: 0.9 };
    withSteps(sampling, (steps) => {
      const first = drawn(sampling, SEED);
      expect(tokensOf(steps, 12)).toEqual(first);
      expect(new Set(first.flat()).size).toBeGreaterThan(2);
      const other = { ...sampling, temperature: 0.8, topK: 6, topP: 1 };
      for (const [settings, seed] of [
        [other, SEED],
        [other, 2 ** 40 + 7],
        [sampling, SEED],
      ] as const) {
        place(steps, settings, seed);
        steps.replay();
        expect(tokensOf(steps, 12)).toEqual(drawn(settings, seed));
      }
    });
  });

  test('remember the tokens that were seen', () => {
    const sampling = { ...GREEDY, repetitionPenalty: 100 };
    withSteps(sampling, (steps) => {
      const tokens = [
        [4, 1],
        [6, 4],
        [3, 6],
        [0, 3],
      ];
      expect(tokensOf(steps, 4)).toEqual(tokens);
      place(steps, { ...sampling, repetitionPenalty: 1.01 });
      steps.replay();
      expect(tokensOf(steps, 2)).toEqual([
        [1, 1],
        [1, 1],
      ]);
      place(steps, sampling);
      steps.replay();
      expect(tokensOf(steps, 4)).toEqual(tokens);
    });
  });

  test('can be placed anew', () => {
    withSteps(GREEDY, (steps) => {
      tokensOf(steps, 2);
      steps.replay();
      place(steps);
      steps.replay();
      expect([...steps.read()]).toEqual([1, 1]);
      expect(values(steps.positions)).toEqual([6, 2]);
    });
  });

  test('tell of logits that are not finite', () => {
    const steps = newDecodeSteps(SHAPE);
    const logits = tf.fill([2, V], Number.NaN) as tf.Tensor2D;
    place(steps);
    expect(steps.record(() => steps.end(logits))).toBe(true);
    expect([...steps.read()]).toEqual([-1, -1]);
    expect(values(steps.ids)).toEqual([0, 0]);
    steps.dispose();
    logits.dispose();
  });

  test('that read from the device are run and not recorded', () => {
    const logits = tf.tensor2d([...LOGITS, ...LOGITS], [2, V]);
    const steps = newDecodeSteps(SHAPE);
    place(steps);
    const problem = steps.record(() => {
      steps.positions.dataSync();
      steps.end(logits);
    });
    expect(problem).toMatch(/copy from the GPU/);
    expect([...steps.read()]).toEqual([1, 1]);
    expect(values(tf.zeros([2]))).toEqual([0, 0]);
    steps.dispose();
    logits.dispose();
  });

  test('leave nothing behind', () => {
    const bytes = () => addon.deviceMemory().inUseBytes;
    const [tensors, before] = [tf.memory().numTensors, bytes()];
    withSteps({ ...GREEDY, temperature: 1 }, (steps) => tokensOf(steps, 3));
    expect(tf.memory().numTensors).toBe(tensors);
    expect(bytes()).toBe(before);
  });
});
