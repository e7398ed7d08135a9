/** Numbers that torch adds at one time: four vectors of eight lanes. */
const LANES = 8;
const VECTORS = 4;
const LEVELS = 4;

/**
 * Sum in float32, in the order in which torch adds a contiguous array on one CPU thread: 32 running
 * sums, cascaded in levels so that they stay of like size.
 */
export function floatSum(values: Float32Array): number {
  // Fewer than a vector go one by one.
  const lanes = values.length < LANES ? 1 : LANES;
  const width = lanes * VECTORS;
  const steps = Math.floor(values.length / width);
  const sums = cascade(values, steps, width);
  let at = steps * width;
  for (; at + lanes <= values.length; at += lanes) add(sums, values.subarray(at, at + lanes));
  for (let vector = 1; vector < VECTORS; vector++) {
    add(sums, sums.subarray(vector * lanes, (vector + 1) * lanes));
  }
  let total = 0;
  for (const value of values.subarray(at)) total = Math.fround(total + value);
  for (const value of sums.subarray(0, lanes)) total = Math.fround(total + value);
  return total;
}

/** Running sums over `steps` rows of `width`. */
function cascade(values: Float32Array, steps: number, width: number): Float32Array {
  const levels = Array.from({ length: LEVELS }, () => new Float32Array(width));
  const [lowest] = levels as [Float32Array];
  const power = Math.max(4, Math.floor(Math.ceil(Math.log2(Math.max(1, steps))) / LEVELS));
  for (let step = 0; step < steps; step++) {
    add(lowest, values.subarray(step * width, (step + 1) * width));
    if ((step + 1) % 2 ** power === 0) carry(levels, step + 1, power);
  }
  for (const level of levels.slice(1)) add(lowest, level);
  return lowest;
}

/** Moves full levels up, as a counter in base 2^power does. */
function carry(levels: readonly Float32Array[], steps: number, power: number): void {
  for (let j = 1; j < levels.length; j++) {
    const [lower, upper] = [levels[j - 1], levels[j]] as [Float32Array, Float32Array];
    add(upper, lower);
    lower.fill(0);
    if (Math.floor(steps / 2 ** (j * power)) % 2 ** power !== 0) return;
  }
}

/** sums[i] += values[i], rounded to float32 by storing. */
function add(sums: Float32Array, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    sums[i] = (sums[i] as number) + (values[i] as number);
  }
}
