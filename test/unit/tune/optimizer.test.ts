import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { RoundedMoments } from '../../../src/tensor/ops/index.js';
import { scalar, tensor1d, tensor2d, type Variable, variable } from '../../../src/tensor/tfjs.js';
import {
  AdamW,
  clipScale,
  decaysByDefault,
  globalNorm,
  roundsStates,
  stateBytes,
} from '../../../src/tune/optimizer.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { sharedData } from '../../helpers/shared-data.js';

const path = sharedData('golden', 'tuning.json');
const hyper = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1 };

test.skipIf(!path).each(testedBackends)("%s: follows torch's AdamW", async (name) => {
  await useTestBackend(name);
  const { p0, grads, runs } = JSON.parse(readFileSync(path ?? '', 'utf8')).optim;
  const parameter = variable(tensor2d(p0));
  const optimizer = new AdamW(new Map([['w', parameter]]), hyper);
  grads.forEach((values: number[][], i: number) => {
    const gradient = tensor2d(values);
    optimizer.apply(new Map([['w', gradient]]), {
      step: i + 1,
      learningRate: 1e-2,
      gradientScale: 1,
    });
    const expected = runs['adamw_lr1e-2_wd0.1'].params[i].flat();
    parameter.dataSync().forEach((value, at) => {
      expect(Math.abs(value - expected[at])).toBeLessThan(2e-6);
    });
  });
});

const rounded = JSON.parse(readFileSync('fixtures/golden/adamw-8bit.json', 'utf8'));

/** The values of the fixture's generator; see fixtures/generate/adamw_8bit.py. */
function generated(seed: number, factor = 1): Float32Array {
  let x = seed;
  const draw = () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return x >>> 12;
  };
  const [rows, cols] = rounded.shape;
  const next = () => ((draw() + draw() + draw() + draw() - 2 ** 21) / 2 ** 24) * rounded.scale;
  const values = Float32Array.from({ length: rows * cols }, next);
  return values.map((value) => value * Math.fround(factor));
}

/** How many of the codes differ from those in hexadecimal, and by how much at most. */
function codesOff(words: Variable | undefined, hex: string): { count: number; most: number } {
  const wanted = Buffer.from(hex, 'hex');
  const codes = new Uint8Array(Int32Array.from(words?.dataSync() ?? []).buffer);
  const off = [...wanted].map((code, i) => Math.abs(code - (codes[i] as number)));
  return { count: off.filter((difference) => difference > 0).length, most: Math.max(...off) };
}

test.each(testedBackends)("%s: follows bitsandbytes' 8-bit AdamW", async (name) => {
  await useTestBackend(name);
  const { shape, first_values, learning_rate: learningRate, weight_decay: weightDecay } = rounded;
  const start = generated(rounded.parameter_seed);
  expect([...start.subarray(0, 4)].map(Math.fround)).toEqual(
    first_values.parameter.map(Math.fround),
  );
  const parameter = variable(tensor2d(start, shape));
  const small = variable(tensor1d([1, 2]));
  const isRounded = (_: string, { size }: Variable) => roundsStates(size, 'linear');
  const parameters = new Map([...Object.entries({ parameter, small })]);
  const optimizer = new AdamW(parameters, { ...hyper, weightDecay, isRounded });
  for (const [i, want] of rounded.steps.entries()) {
    const values = generated(rounded.gradient_seeds[i], rounded.gradient_factors[i]);
    const gradient = tensor2d(values, shape);
    const gradients = new Map([
      ...Object.entries({ parameter: gradient, small: tensor1d([1, 1]) }),
    ]);
    optimizer.apply(gradients, { step: i + 1, learningRate, gradientScale: 1 });
    const got = parameter.dataSync();
    want.param_first8.forEach((value: number, at: number) => {
      expect(Math.abs((got[at] as number) - value)).toBeLessThan(2e-6);
    });
    const { m, v, mScales, vScales } = optimizer.moments.get('parameter') as RoundedMoments;
    want.absmax1_first2.forEach((value: number, at: number) => {
      expect((mScales.dataSync()[at] as number) / value).toBeCloseTo(1, 5);
    });
    want.absmax2_first2.forEach((value: number, at: number) => {
      expect((vScales.dataSync()[at] as number) / value).toBeCloseTo(1, 5);
    });
    if (!want.state1_hex_first264) continue;
    // A rounding that falls in the middle of two codes.
    for (const [words, hex] of [
      [m, want.state1_hex_first264],
      [v, want.state2_hex_first264],
    ]) {
      const { count, most } = codesOff(words, hex);
      expect(count).toBeLessThanOrEqual(2);
      expect(most).toBeLessThanOrEqual(1);
    }
  }
  expect([...optimizer.states()].map(([state]) => state)).toEqual([
    ...['m/parameter', 'v/parameter', 'mScales/parameter', 'vScales/parameter'],
    ...['m/small', 'v/small'],
  ]);
  expect(optimizer.moments.get('small')?.m.shape).toEqual([2]);
  optimizer.dispose();
});

test('states of 8 bits are a quarter of those of 32', () => {
  expect(stateBytes(1 << 20, false)).toBe(8 << 20);
  expect(stateBytes(1 << 20, true)).toBe((2 << 20) + (8 << 12));
  expect(roundsStates(4095, 'linear')).toBe(false);
  expect(roundsStates(1 << 20, 'embedding')).toBe(false);
});

test('clips by the norm over all gradients, as torch does', async () => {
  await useTestBackend(testedBackends[0] ?? 'reference');
  if (!path) return;
  const { grads, clip_grad_norm } = JSON.parse(readFileSync(path, 'utf8')).optim;
  const flat = grads[6].flat();
  const norm = globalNorm([tensor1d(flat.slice(0, 10)), tensor2d([flat.slice(10)])]);
  expect(norm / clip_grad_norm.norm).toBeCloseTo(1, 6);
  clip_grad_norm.first6.forEach((value: number, i: number) => {
    expect(flat[i] * clipScale(norm, 1)).toBeCloseTo(value, 6);
  });
  expect(clipScale(0.5, 1)).toBe(1);
  expect(clipScale(50, 0)).toBe(1);
});

test('matrices decay, norms and biases do not', () => {
  expect(
    decaysByDefault('model.layers.0.mlp.up_proj.lora_A.weight', variable(tensor2d([[1]]))),
  ).toBe(true);
  expect(decaysByDefault('model.norm.weight', variable(tensor1d([1])))).toBe(false);
  expect(decaysByDefault('x', variable(scalar(1)))).toBe(false);
});
