/**
 * The 256 values of an 8-bit code in ascending order, from -1 or 0 to 1: those of kernels/cpu/adamw/dynamic_map.h.
 *
 * @see https://arxiv.org/abs/2110.02861
 */
export function dynamicMap(hasSign: boolean): Float32Array {
  const values = [0, 1];
  for (let exponent = 0; exponent > -7; exponent--) {
    const parts = (hasSign ? 64 : 128) >> -exponent;
    for (let i = 0; i < parts; i++) {
      const middle = (0.1 + (0.9 * (i + 0.5)) / parts) * 10 ** exponent;
      values.push(middle);
      if (hasSign) values.push(-middle);
    }
  }
  return Float32Array.from(values).sort();
}

/** The code of the nearest value; of two as near, the lower. */
export function nearestCode(map: Float32Array, x: number): number {
  let below = 0;
  for (let half = 128; half > 0; half /= 2) {
    if ((map[below + half] as number) <= x) below += half;
  }
  const above = Math.min(below + 1, 255);
  const [low, high] = [map[below] as number, map[above] as number];
  return Math.fround(high - x) < Math.fround(x - low) ? above : below;
}
