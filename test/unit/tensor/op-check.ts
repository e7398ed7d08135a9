import { expect } from 'vitest';
import * as tf from '../../../src/tensor/tfjs.js';
import { useTestBackend } from '../../helpers/backends.js';
import { randomNormal } from '../../helpers/random.js';

/** One op with one set of sizes. */
export interface OpCase {
  readonly name: string;
  /** Shapes of the float32 inputs that the op has a gradient for. */
  readonly shapes: readonly number[][];
  readonly run: (...inputs: tf.Tensor[]) => tf.Tensor;
  /** Moves random inputs away from where the op has no gradient. */
  readonly prepare?: (value: number) => number;
  /** The result in float64, written down without tensors. */
  readonly expected?: (...inputs: Float32Array[]) => readonly number[];
}

/** What an op made: its values, and its gradients of the sum of values · cotangent. */
interface OpResult {
  readonly values: Float32Array;
  readonly gradients: readonly Float32Array[];
}

const STEP = 1e-2;
const DIRECTIONS = 3;

/**
 * Checks an op on every backend: values against `expected`, gradients against finite differences,
 * no tensor left behind, and every backend against the last one, where the composition runs.
 */
export async function checkOp(op: OpCase, backends: readonly string[]): Promise<void> {
  const inputs = op.shapes.map((shape, i) =>
    randomNormal(tf.util.sizeFromShape(shape), 1 + i).map(op.prepare ?? ((value) => value)),
  );
  const results: OpResult[] = [];
  for (const name of backends) {
    await useTestBackend(name);
    const result = evaluate(op, inputs);
    if (op.expected) expectClose(`${name} values`, result.values, op.expected(...inputs));
    checkDifferences(op, inputs, result);
    results.push(result);
  }
  const oracle = results.at(-1) as OpResult;
  for (const [i, { values, gradients }] of results.slice(0, -1).entries()) {
    expectClose(`${backends[i]} against composition`, values, oracle.values);
    gradients.forEach((gradient, input) => {
      const what = `${backends[i]} gradient ${input}`;
      expectClose(what, gradient, oracle.gradients[input] as Float32Array);
    });
  }
}

/** Runs an op, then disposes the tensors that were made for it; what the op leaves shows. */
export function disposing(made: tf.Tensor[], run: () => tf.Tensor): tf.Tensor {
  const y = run();
  tf.dispose(made);
  return y;
}

function evaluate(op: OpCase, inputs: readonly Float32Array[]): OpResult {
  const before = tf.memory();
  const tensors = inputs.map((values, i) => tf.tensor(values, op.shapes[i]));
  const withInputs = tf.memory();
  const y = op.run(...tensors);
  expect(tf.memory().numTensors - withInputs.numTensors, `${op.name}: tensors made`).toBe(1);
  const dy = tf.tensor(cotangent(y.size), y.shape);
  const gradients = tf.grads((...xs) => op.run(...(xs as tf.Tensor[])))(tensors, dy);
  const result = {
    values: y.dataSync() as Float32Array,
    gradients: gradients.map((gradient) => gradient.dataSync() as Float32Array),
  };
  tf.dispose([...tensors, y, dy, ...gradients]);
  const { numTensors, numBytes } = tf.memory();
  expect([numTensors, numBytes], `${op.name}: left behind`).toEqual([
    before.numTensors,
    before.numBytes,
  ]);
  return result;
}

const cotangent = (length: number) => randomNormal(length, 99);

/** (f(x + h·d) − f(x − h·d)) / 2h against gradient · d, for random directions d of each input. */
function checkDifferences(op: OpCase, inputs: readonly Float32Array[], result: OpResult): void {
  inputs.forEach((values, input) => {
    const gradient = result.gradients[input] as Float32Array;
    const size = Math.hypot(...gradient);
    for (let seed = 0; seed < DIRECTIONS; seed++) {
      const direction = randomNormal(values.length, 1000 + seed);
      const at = (step: number) => {
        const moved = values.map((x, i) => x + step * (direction[i] as number));
        return weightedSum(op, inputs.with(input, moved));
      };
      const slope = (at(STEP) - at(-STEP)) / (2 * STEP);
      const projected = dot(gradient, direction);
      const what = `${op.name}: gradient of input ${input} along direction ${seed}`;
      expect(Math.abs(slope - projected) / (1 + size), what).toBeLessThan(5e-3);
    }
  });
}

function weightedSum(op: OpCase, inputs: readonly Float32Array[]): number {
  return tf.tidy(() => {
    const y = op.run(...inputs.map((values, i) => tf.tensor(values, op.shapes[i])));
    return dot(y.dataSync() as Float32Array, cotangent(y.size));
  });
}

function dot(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
}

/** max |a − b| ≤ 1e-5 · max |b|. */
export function expectClose(what: string, a: ArrayLike<number>, b: ArrayLike<number>): void {
  expect(a.length, what).toBe(b.length);
  const largest = Math.max(1e-3, ...Array.from(b, Math.abs));
  const differences = Array.from(a, (x, i) => Math.abs(x - (b[i] as number)) / largest);
  // NaN must not pass: it is not below anything.
  expect(
    differences.every((difference) => difference < 1e-5) ? 0 : Math.max(...differences),
    what,
  ).toBe(0);
}
