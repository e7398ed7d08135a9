/**
 * A uniform number in [0, 1) that depends on its coordinates alone: row `stream` at token `counter`
 * draws the same number whatever is drawn elsewhere, on every backend.
 */
export function uniformAt(seed: number, stream: number, counter: number): number {
  const state = mix(mix(drawKey(seed) ^ stream) + counter);
  const high = mix(state ^ 0x9e3779b9) >>> 5;
  const low = mix(state ^ 0x85ebca6b) >>> 6;
  return (high * 2 ** 26 + low) / 2 ** 53;
}

/** What the numbers take of the seed, uint32; kernels/cuda/decode_state makes them of it too. */
export function drawKey(seed: number): number {
  return mix(mix(seed >>> 0) ^ Math.floor(seed / 2 ** 32));
}

/** A bijection of 32 bits that spreads every bit (the finalizer of MurmurHash3). */
function mix(value: number): number {
  let x = (value + 0x6d2b79f5) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
