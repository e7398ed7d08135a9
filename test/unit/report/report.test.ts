import { describe, expect, test } from 'vitest';
import { reportWriters } from '../../../src/report/index.js';
import { lineChart } from '../../../src/report/line-chart.js';
import { markdownTable } from '../../../src/report/markdown.js';
import type { Report } from '../../../src/report/report.js';
import { formatNumber, formatWithError, niceTicks } from '../../../src/report/scale.js';

const report: Report = {
  title: 'A <b>model</b> & "friends"',
  subtitle: 'seed 7',
  sections: [
    {
      heading: 'Results',
      blocks: [
        { kind: 'text', text: 'Above chance.' },
        { kind: 'figures', items: [{ label: 'acc', value: '0.31' }] },
        {
          kind: 'table',
          columns: [{ name: 'Task' }, { name: 'acc', align: 'right' }],
          rows: [['a|b', '0.31']],
        },
        { kind: 'code', text: 'llmkit eval ```x``` <y>' },
        {
          kind: 'lines',
          title: 'Loss',
          xLabel: 'step',
          yLabel: 'loss',
          series: [
            { name: 'train', points: [1, 2, 3].map((x) => ({ x, y: 4 / x })) },
            { name: 'evaluation', points: [{ x: 3, y: 2 }] },
          ],
        },
        {
          kind: 'bars',
          title: 'Accuracy',
          xLabel: 'acc',
          bars: [{ label: 'hellaswag', value: 0.31, error: 0.046 }],
        },
      ],
    },
  ],
};

describe.each(Object.entries(reportWriters))('%s', (_name, writer) => {
  const text = writer.write(report);

  test('says everything the report says', () => {
    for (const said of [
      'seed 7',
      'Results',
      'Above chance.',
      '0.31',
      'Loss',
      'evaluation',
      '0.046',
    ])
      expect(text).toContain(said);
  });

  test('ends in one newline and has no undefined or NaN', () => {
    expect(text).toMatch(/[^\n]\n$/);
    expect(text).not.toMatch(/undefined|NaN/);
  });
});

describe('html', () => {
  const html = reportWriters.html?.write(report) ?? '';

  test('loads nothing from elsewhere and runs no script', () => {
    expect(html).not.toMatch(/(src|href)=|url\(|@import|<script/);
  });

  test('escapes text', () => {
    expect(html).toContain('A &lt;b&gt;model&lt;/b&gt; &amp; &quot;friends&quot;');
    expect(html).toContain('&lt;y&gt;');
    expect(html).not.toContain('<b>');
  });

  test('every element is closed in order', () => {
    const open: string[] = [];
    for (const [, end, name = '', rest = ''] of html.matchAll(/<(\/?)([a-z0-9]+)([^>]*)>/g)) {
      if (end) expect(open.pop()).toBe(name);
      else if (name !== 'meta' && !rest.endsWith('/')) open.push(name);
    }
    expect(open).toEqual([]);
  });

  test('follows the system into the dark', () => {
    expect(html).toContain('prefers-color-scheme: dark');
  });
});

test('markdown fences outlast the text inside them', () => {
  expect(reportWriters.markdown?.write(report)).toContain('````\nllmkit eval');
});

test('markdown tables are aligned and escaped', () => {
  const table = markdownTable({
    columns: [{ name: 'Task' }, { name: 'acc', align: 'right' }],
    rows: [
      ['a|b', '0.3'],
      ['long name', '0.25'],
    ],
  });
  expect(table.split('\n')).toEqual([
    '| Task      |  acc |',
    '|:----------|-----:|',
    '| a\\|b      |  0.3 |',
    '| long name | 0.25 |',
  ]);
});

describe('line chart', () => {
  const chart = (ys: readonly number[]) =>
    lineChart({
      kind: 'lines',
      title: 'Loss',
      xLabel: 'step',
      yLabel: 'loss',
      series: [{ name: 'train', points: ys.map((y, x) => ({ x, y })) }],
    });
  const pathOf = (svg: string) => svg.match(/ d="(M[^"]*)"/)?.[1] ?? '';

  test('a value that is not finite interrupts the curve', () => {
    expect(pathOf(chart([1, 2, Number.NaN, 2, 1]))).toMatch(/^M[^M]+L[^M]+M[^M]+L[^M]+$/);
  });

  test('a long curve is thinned but keeps its spikes', () => {
    const ys = Array.from({ length: 50_000 }, (_, i) => (i === 30_001 ? 9 : 1 + (i % 2) / 10));
    const path = pathOf(chart(ys));
    expect(path.split(/[ML]/).length - 1).toBeLessThanOrEqual(600);
    const heights = path
      .split(/[ML]/)
      .slice(1)
      .map((point) => Number(point.split(' ')[1]));
    expect(Math.min(...heights)).toBeLessThan(60);
  });

  test.each([[[]], [[Number.NaN]]])('without a point to draw it says so: %j', (ys) => {
    expect(chart(ys)).toContain('No points');
  });

  test('one point and a flat curve have a scale', () => {
    expect(chart([5])).not.toMatch(/NaN|Infinity/);
    expect(chart([5, 5, 5])).not.toMatch(/NaN|Infinity/);
  });
});

test.each([
  [0, 1, ['0.0', '0.5', '1.0']],
  [3.2, 9.7, ['2', '4', '6', '8', '10']],
  [0, 30_000, ['0', '10,000', '20,000', '30,000']],
  [0.0012, 0.0019, ['0.0012', '0.0014', '0.0016', '0.0018', '0.0020']],
  [-1, 1, ['-1.0', '-0.5', '0.0', '0.5', '1.0']],
])('ticks from %d to %d', (low, high, labels) => {
  expect(niceTicks(low, high, 4).labels).toEqual(labels);
});

test.each([
  [0.123456, '0.1235'],
  [123456.7, '123,457'],
  [0, '0'],
  [0.00001234, '1.234e-5'],
  [Number.NaN, 'NaN'],
])('formats %d', (value, text) => {
  expect(formatNumber(value)).toBe(text);
});

test.each([
  [0.31, 0.04648, '0.310 ± 0.046'],
  [175.75, 12.3, '176 ± 12'],
  [0.5, 0, '0.5'],
])('formats %d ± %d', (value, error, text) => {
  expect(formatWithError(value, error)).toBe(text);
});
