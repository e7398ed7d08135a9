import { appendFileSync, writeFileSync } from 'node:fs';
import type { Limits } from '../measure/limits.js';
import type { Shape } from '../models/shape.js';
import type { BenchOptions } from '../options.js';
import type { Row } from './rows.js';

/** A run of the benchmark. */
export interface Report {
  /** ISO 8601. */
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  /** Where a GPU computed. */
  readonly gpu?: string;
  readonly llmkit: string;
  /** What the rows' names leave out. */
  readonly options: ReportOptions;
  /** Threads → peaks; null where they could not be measured. */
  readonly limits: Limits | null;
  readonly rows: readonly Row[];
}

/** What tells runs with the same works apart. */
export interface ReportOptions {
  /** Names of the models' shapes. */
  readonly shapes: readonly string[];
  readonly groupSize: number;
  /** Turns of which a figure is the median. */
  readonly rounds: number;
}

/** Those of a run. @param shapes that were measured */
export function reportOptions(
  { groupSize, rounds }: BenchOptions,
  shapes: readonly Shape[],
): ReportOptions {
  return { shapes: shapes.map(({ name }) => name), groupSize, rounds };
}

/** Writes the rows for programs. */
export function writeRows(path: string, { rows }: Report): void {
  writeFileSync(path, `${JSON.stringify(rows, undefined, 2)}\n`);
}

/** Adds a run to the history, one line of JSON. */
export function appendHistory(path: string, report: Report): void {
  appendFileSync(path, `${JSON.stringify(report)}\n`);
}
