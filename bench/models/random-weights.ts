import { toDtype } from '../../src/checkpoint/writer.js';
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
      normal(NOISE_VALUES).map((x) => DEVIATION * x),
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

/** Standard normal numbers (mulberry32 and Box–Muller). */
function normal(length: number): Float32Array {
  let state = 1;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float32Array.from(
    { length },
    () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
}
