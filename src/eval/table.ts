import type { MetricResult, TaskResult } from './harness.js';

const HEADERS = ['Tasks', 'Version', 'Filter', 'n-shot', 'Metric', '', 'Value', '', 'Stderr'];
const NUMERIC = [false, true, false, true, false, false, true, false, true];
/** In a column of numbers: it is then a column of texts. */
const NOT_KNOWN = '   N/A';

/** The table lm-evaluation-harness prints: one line per metric, ↑ where more is better. */
export function resultsTable(results: readonly TaskResult[]): string {
  const rows = results.flatMap(taskRows);
  const widths = HEADERS.map((header, i) =>
    Math.max(3, header.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const right = NUMERIC.map((numeric, i) => numeric && !rows.some((row) => row[i] === NOT_KNOWN));
  const line = (cells: readonly string[]) => `|${cells.join('|')}|`;
  return [
    line(HEADERS.map((header, i) => centre(header, widths[i] ?? 0))),
    line(widths.map((width, i) => (right[i] ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)))),
    ...rows.map((row) =>
      line(
        row.map((cell, i) =>
          right[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
        ),
      ),
    ),
  ].join('\n');
}

function taskRows({ name, task, numFewshot, metrics }: TaskResult): string[][] {
  const names = Object.keys(metrics).sort();
  return names.map((metric, i) => [
    i === 0 ? name : '',
    i === 0 ? String(task.version) : '',
    'none',
    String(numFewshot),
    metric,
    task.metrics[metric]?.higherIsBetter ? '↑' : '↓',
    (metrics[metric] as MetricResult).value.toFixed(4),
    '±',
    metrics[metric]?.standardError?.toFixed(4) ?? NOT_KNOWN,
  ]);
}

function centre(text: string, width: number): string {
  const before = Math.floor((width - text.length) / 2);
  return ' '.repeat(before) + text + ' '.repeat(width - text.length - before);
}
