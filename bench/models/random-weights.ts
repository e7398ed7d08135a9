import { toDtype } from '../../src/checkpoint/writer.js';
import { randomNormal } from '../../test/helpers/random.js';
import type { TensorShape } from './shape.js';

const NOISE_VALUES = 2 ** 18;
const DEVIATION = 0.02;

let noise: Buffer | undefined;

/**
 * The bytes of a tensor in bf16, the same on every run: norms are 1, biases 0, matrices normal
 * noise of which a quarter of a million values are drawn and repeated from a place that the name decides.
 */
export function randomTensor({ name, shape }: TensorShape): Buffer {
  const values = shape.reduce((product, size) => product * size, 1);
  if (shape.length === 1) {
    const value = name.endsWith('bias') ? 0 : 1;
    return Buffer.from(toDtype(new Float32Array(values).fill(value), 'BF16'));
  }
  noise ??= Buffer.from(
    toDtype(
      randomNormal(NOISE_VALUES, 1).map((x) => DEVIATION * x),
      'BF16',
    ),
  );
  const start = 2 * (hash(name) % NOISE_VALUES);
  const rotated = Buffer.concat([noise.subarray(start), noise.subarray(0, start)]);
  return Buffer.alloc(2 * values, rotated);
}

/** FNV-1a. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (const byte of Buffer.from(text)) state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  return state;
}
