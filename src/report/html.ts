import { barChart } from './bar-chart.js';
import { escapeHtml } from './escape.js';
import { lineChart } from './line-chart.js';
import type { Block, Report, Section, TableBlock } from './report.js';
import { STYLE_SHEET } from './style.js';

/** A report as one HTML file that needs nothing else: style and charts are inside, no script runs. */
export function htmlReport(report: Report): string {
  const { title, subtitle, sections } = report;
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${escapeHtml(title)}</title>`,
    `<style>${STYLE_SHEET}</style>`,
    '</head>',
    '<body>',
    '<main>',
    `<h1>${escapeHtml(title)}</h1>`,
    subtitle === undefined ? '' : `<p class="subtitle">${escapeHtml(subtitle)}</p>`,
    ...sections.map(section),
    '</main>',
    '</body>',
    '</html>',
    '',
  ].join('\n');
}

function section({ heading, blocks }: Section): string {
  return `<section>\n<h2>${escapeHtml(heading)}</h2>\n${blocks.map(block).join('\n')}\n</section>`;
}

function block(content: Block): string {
  switch (content.kind) {
    case 'text':
      return `<p>${escapeHtml(content.text)}</p>`;
    case 'code':
      return `<pre>${escapeHtml(content.text)}</pre>`;
    case 'figures':
      return figures(content.items);
    case 'table':
      return table(content);
    case 'lines':
      return lineChart(content);
    case 'bars':
      return barChart(content);
  }
}

function figures(items: readonly { label: string; value: string }[]): string {
  const pairs = items.map(
    ({ label, value }) => `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd></div>`,
  );
  return `<dl class="figures">${pairs.join('')}</dl>`;
}

function table({ caption, columns, rows }: TableBlock): string {
  const side = (i: number) => (columns[i]?.align === 'right' ? ' class="right"' : '');
  const head = columns.map(({ name }, i) => `<th${side(i)}>${escapeHtml(name)}</th>`);
  const body = rows.map(
    (row) => `<tr>${row.map((cell, i) => `<td${side(i)}>${escapeHtml(cell)}</td>`).join('')}</tr>`,
  );
  return [
    '<div class="scroll"><table>',
    caption === undefined ? '' : `<caption>${escapeHtml(caption)}</caption>`,
    `<thead><tr>${head.join('')}</tr></thead>`,
    `<tbody>${body.join('\n')}</tbody>`,
    '</table></div>',
  ].join('\n');
}
