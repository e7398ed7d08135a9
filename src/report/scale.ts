/** Places on an axis: where the labelled lines are, and what they say. */
export interface Ticks {
  readonly values: readonly number[];
  readonly labels: readonly string[];
}

/** Maps a value of the data onto a place in the picture. */
export type Scale = (value: number) => number;

/** The linear map that takes `from` to `to`. */
export function linearScale(from: readonly [number, number], to: readonly [number, number]): Scale {
  const width = from[1] - from[0] || 1;
  return (value) => to[0] + ((value - from[0]) / width) * (to[1] - to[0]);
}

/**
 * Round numbers (1, 2 or 5 times a power of ten apart) that cover [low, high].
 *
 * @param count about how many steps are wanted
 */
export function niceTicks(low: number, high: number, count: number): Ticks {
  const [from, to] = low < high ? [low, high] : [low - 0.5, high + 0.5];
  const step = niceStep((to - from) / count);
  const first = Math.floor(from / step + 1e-9);
  const last = Math.ceil(to / step - 1e-9);
  const values = Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return { values, labels: values.map((value) => tickLabel(value, decimals)) };
}

function niceStep(rough: number): number {
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((f) => f * power >= rough * (1 - 1e-9)) ?? 10;
  return factor * power;
}

function tickLabel(value: number, decimals: number): string {
  const size = Math.abs(value);
  if (size >= 1e6 || decimals > 5) return value === 0 ? '0' : value.toExponential(1);
  return value.toLocaleString('en-US', {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

/** A number for people: four significant digits, thousands separated. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-4)) return value.toExponential(3);
  if (size >= 1000) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toPrecision(4)));
}

/** A value and its error, both to the error's two leading digits: 0.310 ± 0.046. */
export function formatWithError(value: number, error: number): string {
  if (!(error > 0) || !Number.isFinite(error)) return formatNumber(value);
  const decimals = Math.min(20, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return `${value.toFixed(decimals)} ± ${error.toFixed(decimals)}`;
}
