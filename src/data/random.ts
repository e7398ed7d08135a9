/**
 * Uniform 32-bit integers from a seed and a stream number, the same on every machine: a counter
 * through the finalizer of MurmurHash3.
 */
export function randomIntegers(seed: number, stream: number): () => number {
  let counter = 0;
  const key = mix(mix(seed | 0) ^ Math.imul(stream, 0x9e3779b9));
  return () => mix(mix(key + Math.imul(++counter, 0x9e3779b9)) ^ key) >>> 0;
}

function mix(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** The numbers 0 … length - 1 in an order that depends on the seed and the stream alone. */
export function shuffledIndices(length: number, seed: number, stream: number): Int32Array {
  const next = randomIntegers(seed, stream);
  const order = Int32Array.from({ length }, (_, i) => i);
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor((next() / 2 ** 32) * (i + 1));
    const held = order[i] as number;
    order[i] = order[j] as number;
    order[j] = held;
  }
  return order;
}
