import { LlmkitError } from '../../errors.js';
import {
  type BackendStatus,
  backendInUse,
  listBackends,
  useBackend,
} from '../../tensor/backends/index.js';
import { linear } from '../../tensor/ops/index.js';
import * as tf from '../../tensor/tfjs.js';
import { dequantize, Weight, type WeightData } from '../../tensor/weight.js';

/** What `llmkit backend check` found; the keys are those of `--json`. */
export interface BackendCheck extends BackendStatus {
  /** Of a 4-bit product and its gradient from their values in float64. */
  readonly max_difference: number;
  readonly allowed_difference: number;
}

const [TOKENS, ROWS, COLS, GROUP] = [5, 24, 96, 32];

/**
 * Computes a product with a 4-bit matrix, and its gradient, and compares them with plain arithmetic.
 *
 * @param device of `native`; see `useBackend`
 * @throws LlmkitError `unsupported` when the backend does not load, `kernel` when it computes something else
 */
export async function checkBackend(name: string, device?: string): Promise<BackendCheck> {
  const inUse = await useBackend(name, { device });
  const data = someMatrix();
  const x = Float32Array.from({ length: TOKENS * COLS }, (_, i) => Math.sin(i));
  const dy = Float32Array.from({ length: TOKENS * ROWS }, (_, i) => Math.cos(i));
  const values = dequantize(data);
  const [y, dx] = productAndGradient(new Weight(data), x, dy);
  const difference = Math.max(
    largestDifference(y, (t, r) =>
      dot(COLS, (c) => at(x, t * COLS + c) * at(values, r * COLS + c)),
    ),
    largestDifference(dx, (t, c) =>
      dot(ROWS, (r) => at(dy, t * ROWS + r) * at(values, r * COLS + c)),
    ),
  );
  // Each of the products is 8 at most; float32 rounds each sum of COLS of them COLS times.
  const allowed = COLS * COLS * 8 * 2 ** -24;
  if (!(difference <= allowed)) {
    throw new LlmkitError(
      'kernel',
      `${inUse.description}: a 4-bit product is off by ${difference}, where rounding allows ${allowed}`,
    );
  }
  const [status] = await listBackends([backendInUse()]);
  return {
    ...(status as BackendStatus),
    max_difference: difference,
    allowed_difference: allowed,
  };
}

/** [ROWS, COLS] in int4: values from -8 to 7 times scales up to 1. */
function someMatrix(): WeightData {
  return {
    format: 'int4',
    rows: ROWS,
    cols: COLS,
    codes: Uint8Array.from({ length: (ROWS * COLS) / 2 }, (_, i) => (i * 37 + 11) % 256),
    groupSize: GROUP,
    scales: Float32Array.from({ length: (ROWS * COLS) / GROUP }, (_, i) => 1 / (1 + (i % 7))),
  };
}

/** y [TOKENS, ROWS] and dx [TOKENS, COLS]. */
function productAndGradient(weight: Weight, x: Float32Array, dy: Float32Array) {
  const tensors = tf.tidy(() => {
    const input = tf.tensor2d(x, [TOKENS, COLS]);
    const gradient = tf.grad((tensor: tf.Tensor) => linear(tensor, weight));
    const dx = gradient(input, tf.tensor2d(dy, [TOKENS, ROWS]));
    return [linear(input, weight), dx] as const;
  });
  const values = tensors.map((tensor) => tensor.dataSync() as Float32Array);
  for (const tensor of tensors) tensor.dispose();
  weight.dispose();
  return values as [y: Float32Array, dx: Float32Array];
}

/** Of a matrix with TOKENS rows from what it should be; NaN where it is not all numbers. */
function largestDifference(
  actual: Float32Array,
  expected: (row: number, col: number) => number,
): number {
  const cols = actual.length / TOKENS;
  return actual.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - expected(Math.floor(i / cols), i % cols))),
    0,
  );
}

function dot(length: number, term: (i: number) => number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += term(i);
  return sum;
}

function at(values: Float32Array, i: number): number {
  return values[i] ?? Number.NaN;
}
