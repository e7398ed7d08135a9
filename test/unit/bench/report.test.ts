import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Runs } from '../../../bench/measure/interleave.js';
import { median } from '../../../bench/measure/median.js';
import type { Metric, Work } from '../../../bench/measure/work.js';
import { parseOptions } from '../../../bench/options.js';
import {
  appendHistory,
  type Report,
  reportOptions,
  writeRows,
} from '../../../bench/report/history.js';
import { type Row, rowsOf } from '../../../bench/report/rows.js';
import { tableOf } from '../../../bench/report/table.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const METRICS: readonly Metric[] = [
  {
    key: 'rate',
    work: 'decode',
    unit: 'tok/s',
    better: 'higher',
    limit: ({ read }) => 2 * read,
  },
  { key: 'peak', work: 'memory', unit: 'GB', better: 'lower' },
  { key: 'seconds', work: 'load', unit: 's', better: 'lower', limit: ({ files }) => files },
];

function workOf(metrics: readonly Metric[]): Work {
  return { name: 'work', threads: 1, metrics, open: async () => [] };
}

const OWN: Runs = {
  name: 'llmkit',
  figures: [
    { rate: 40, peak: 1 },
    { rate: 60, peak: 1 },
    { rate: 50, peak: 3 },
  ],
  probes: [30, 50, 50, 10, 40, 20].map((read) => ({ read, files: read / 10 })),
};
const PEER: Runs = {
  name: 'peer',
  figures: [{ rate: 25, peak: 2 }],
  probes: [{ read: 99 }, { read: 99 }],
};

test('the median is the middle value or the mean of the two in the middle', () => {
  expect(median([9, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(() => median([])).toThrow('no values');
});

test('a row has medians, ratios above 1 where llmkit is better, and the limit probed around it', () => {
  const rows = rowsOf(workOf(METRICS), [OWN, PEER], { read: 1000, fp32: 1 });
  expect(rows).toEqual([
    {
      work: 'decode',
      unit: 'tok/s',
      llmkit: 50,
      peers: { peer: 25 },
      ratio: { peer: 2 },
      limit: 70,
      share_of_limit: 0.7143,
    },
    {
      work: 'memory',
      unit: 'GB',
      llmkit: 1,
      peers: { peer: 2 },
      ratio: { peer: 2 },
      limit: null,
      share_of_limit: null,
    },
  ]);
});

test('a limit is what was probed around the runs, and none where nothing was', () => {
  const [load] = METRICS.slice(2);
  const own: Runs = { ...OWN, figures: [{ seconds: 7 }] };
  const limitOf = (runs: Runs) =>
    rowsOf(workOf([load as Metric]), [runs], { read: 1000, fp32: 1 })[0];
  expect(limitOf(own)).toMatchObject({ limit: 3.5, share_of_limit: 0.5 });
  expect(limitOf({ ...own, probes: [{ read: 1 }] })).toMatchObject({ limit: null });
});

test('what a run does not know is left out', () => {
  const silent: Runs = { name: 'peer', figures: [{ rate: undefined }], probes: [] };
  expect(rowsOf(workOf(METRICS), [OWN, silent], undefined)[0]).toMatchObject({
    peers: {},
    ratio: {},
    limit: null,
  });
  expect(rowsOf(workOf(METRICS), [{ ...OWN, figures: [] }], undefined)).toEqual([]);
});

const ROW: Row = {
  work: 'decode',
  unit: 'tok/s',
  llmkit: 50.26,
  peers: { 'llama.cpp Q4_0': 25, other: 100.4 },
  ratio: { 'llama.cpp Q4_0': 2.01, other: 0.5 },
  limit: 62,
  share_of_limit: 0.811,
};

test('the table aligns its columns and writes nothing where there is no limit', () => {
  const free: Row = { ...ROW, work: 'start', peers: {}, ratio: {}, limit: null };
  expect(tableOf([ROW, { ...free, share_of_limit: null, llmkit: 0.00123 }])).toBe(
    [
      'work    unit   llmkit  peers                            ratio          limit  share',
      '──────  ─────  ──────  ───────────────────────────────  ─────────────  ─────  ─────',
      'decode  tok/s    50.3  llama.cpp Q4_0 25.0 · other 100  2.01x · 0.50x   62.0   81 %',
      'start   tok/s  0.0012',
      '',
    ].join('\n'),
  );
});

const OPTIONS = parseOptions([
  'cpu',
  ...['--shape', 'qwen2.5-0.5b', '--group-size', '64', '--rounds', '5'],
]);

test('rows are one JSON document, the history one line per run', () => {
  const folder = temporaryFolder();
  const report: Report = {
    date: '2026-01-01T00:00:00.000Z',
    cpu: 'a cpu',
    cores: 2,
    llmkit: '0.1.0',
    options: reportOptions(OPTIONS, [OPTIONS.shape]),
    limits: null,
    rows: [ROW],
  };
  const [rows, history] = [join(folder, 'rows.json'), join(folder, 'history.jsonl')];
  writeRows(rows, report);
  appendHistory(history, report);
  appendHistory(history, report);
  expect(JSON.parse(readFileSync(rows, 'utf8'))).toEqual([ROW]);
  const lines = readFileSync(history, 'utf8').trim().split('\n');
  expect(lines.map((line) => JSON.parse(line))).toEqual([report, report]);
  expect(report.options).toEqual({ shapes: ['qwen2.5-0.5b'], groupSize: 64, rounds: 5 });
});
