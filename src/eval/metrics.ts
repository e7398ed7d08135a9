/** A document's part in a metric: a value, or a sum and the weight it is divided by. */
export type MetricValue = number | readonly [sum: number, weight: number];

/** How the values of all documents become one number. */
export interface Metric {
  readonly higherIsBetter: boolean;
  aggregate(values: readonly MetricValue[]): number;
  /** Of the aggregate; left out where there is no closed form. */
  standardError?(values: readonly MetricValue[]): number;
}

/** The mean over documents; its error is the sample standard deviation / √n. */
export const mean: Metric = {
  higherIsBetter: true,
  aggregate: weightedMean,
  standardError(values) {
    const middle = weightedMean(values);
    const squares = values.reduce<number>((sum, value) => sum + (ratio(value) - middle) ** 2, 0);
    return Math.sqrt(squares / (values.length - 1)) / Math.sqrt(values.length);
  },
};

/** exp(-Σ log-probability / Σ weight), per token or per word. */
export const weightedPerplexity: Metric = {
  higherIsBetter: false,
  aggregate: (values) => Math.exp(-weightedMean(values)),
};

/** -Σ log-probability / Σ bytes, in bits. */
export const bitsPerByte: Metric = {
  higherIsBetter: false,
  aggregate: (values) => -weightedMean(values) / Math.LN2,
};

function weightedMean(values: readonly MetricValue[]): number {
  let [sum, weight] = [0, 0];
  for (const value of values) {
    sum += typeof value === 'number' ? value : value[0];
    weight += typeof value === 'number' ? 1 : value[1];
  }
  return sum / weight;
}

function ratio(value: MetricValue): number {
  return typeof value === 'number' ? value : value[0] / value[1];
}
