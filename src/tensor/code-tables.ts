/** The 16 values that 4-bit codes stand for, rounded to float32. */
export type CodeTable = Float32Array;

/**
 * NF4: quantiles of the normal distribution, scaled to [-1, 1], in ascending order.
 *
 * @see https://arxiv.org/abs/2305.14314
 */
export const NF4_TABLE: CodeTable = Float32Array.of(
  -1,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1,
);

const FP4_MAGNITUDES = [0, 0.0052083333, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25];

/** FP4 as bitsandbytes defines it: bit 3 is the sign, the rest chooses the magnitude. */
export const FP4_TABLE: CodeTable = Float32Array.from([
  ...FP4_MAGNITUDES,
  ...FP4_MAGNITUDES.map((magnitude) => -magnitude),
]);
