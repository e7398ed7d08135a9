import type { TaskResult } from './harness.js';

/** What a run was made with, for the head of its results; the keys are lm-evaluation-harness's. */
export type RunInfo = Readonly<Record<string, unknown>>;

/** `results_<date>.json` in lm-evaluation-harness's layout. */
export interface ResultsDocument extends RunInfo {
  readonly results: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Puts the tasks' numbers and the run's facts into one document. */
export function resultsDocument(
  results: readonly TaskResult[],
  configs: Readonly<Record<string, unknown>>,
  info: RunInfo,
): ResultsDocument {
  const byTask = <Value>(value: (result: TaskResult) => Value) =>
    Object.fromEntries(results.map((result) => [result.name, value(result)]));
  return {
    results: byTask(taskMetrics),
    group_subtasks: byTask(() => []),
    configs,
    versions: byTask(({ task }) => task.version),
    'n-shot': byTask(({ numFewshot }) => numFewshot),
    higher_is_better: byTask(({ task }) =>
      Object.fromEntries(
        Object.entries(task.metrics).map(([name, metric]) => [name, metric.higherIsBetter]),
      ),
    ),
    'n-samples': byTask(({ totalDocuments, samples }) => ({
      original: totalDocuments,
      effective: samples.length,
    })),
    'n-truncated': byTask(({ samples }) =>
      samples.reduce((sum, { truncated }) => sum + truncated, 0),
    ),
    'n-tokens': byTask(({ samples }) => tokenCounts(samples)),
    ...info,
  };
}

function taskMetrics({ name, metrics, samples }: TaskResult): Record<string, unknown> {
  const entries = Object.entries(metrics).flatMap(([metric, { value, standardError }]) => [
    [`${metric},none`, value],
    [`${metric}_stderr,none`, standardError ?? 'N/A'],
  ]);
  return { name, alias: name, sample_len: samples.length, ...Object.fromEntries(entries) };
}

function tokenCounts(samples: TaskResult['samples']): { seen: number; scored: number } {
  const rows = samples.flatMap((sample) => sample.rows.flat());
  const seen = rows.reduce((sum, row) => sum + row.ids.length, 0);
  return { seen, scored: rows.reduce((sum, row) => sum + row.ids.length - row.from, 0) };
}
