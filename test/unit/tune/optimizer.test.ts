import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { scalar, tensor1d, tensor2d, variable } from '../../../src/tensor/tfjs.js';
import { AdamW, clipScale, decaysByDefault, globalNorm } from '../../../src/tune/optimizer.js';
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
