import type { Runs } from '../measure/interleave.js';
import type { Peaks } from '../measure/limits.js';
import { median } from '../measure/median.js';
import type { Metric, Work } from '../measure/work.js';

/** A line of the table: medians. */
export interface Row {
  readonly work: string;
  readonly unit: string;
  readonly llmkit: number;
  readonly peers: Readonly<Record<string, number>>;
  /** How many times better llmkit is, whichever direction is better. */
  readonly ratio: Readonly<Record<string, number>>;
  /** What the machine allows, in the same unit; null where no single limit bounds the work. */
  readonly limit: number | null;
  readonly share_of_limit: number | null;
}

/** The rows of a work, a row for each metric that llmkit's runs know. */
export function rowsOf(work: Work, runs: readonly Runs[], peaks: Peaks | undefined): Row[] {
  const [own, ...peers] = runs;
  if (!own) return [];
  const around = peaks && { ...peaks, ...medians(own.probes) };
  return work.metrics.flatMap((metric) => {
    const llmkit = figureOf(own, metric.key);
    if (llmkit === undefined) return [];
    const figures = peers.flatMap((peer): [string, number][] => {
      const figure = figureOf(peer, metric.key);
      return figure === undefined ? [] : [[peer.name, figure]];
    });
    return [rowOf(metric, { llmkit, figures, limit: around && metric.limit?.(around) })];
  });
}

function medians(probes: Runs['probes']): Partial<Peaks> {
  const keys = ['read', 'files'] as const;
  const found = keys.map((key) => [key, probes.flatMap((probe) => probe[key] ?? [])] as const);
  const known = found.filter(([, values]) => values.length > 0);
  return Object.fromEntries(known.map(([key, values]) => [key, median(values)]));
}

function figureOf({ figures }: Runs, key: string): number | undefined {
  const values = figures.flatMap((one) => one[key] ?? []);
  return values.length > 0 ? median(values) : undefined;
}

interface Measured {
  readonly llmkit: number;
  readonly figures: readonly (readonly [string, number])[];
  readonly limit: number | undefined;
}

function rowOf({ work, unit, better }: Metric, { llmkit, figures, limit }: Measured): Row {
  const gain = (one: number, other: number) => (better === 'higher' ? one / other : other / one);
  return {
    work,
    unit,
    llmkit: rounded(llmkit),
    peers: Object.fromEntries(figures.map(([name, figure]) => [name, rounded(figure)])),
    ratio: Object.fromEntries(
      figures.map(([name, figure]) => [name, rounded(gain(llmkit, figure))]),
    ),
    limit: limit === undefined ? null : rounded(limit),
    share_of_limit: limit === undefined ? null : rounded(gain(llmkit, limit)),
  };
}

/** Four digits: more than any run repeats. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
