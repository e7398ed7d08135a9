import type { Block, Column, LineChart, Report, TableBlock } from './report.js';
import { formatNumber, formatWithError } from './scale.js';

/** A report as markdown. Curves are said in a sentence, bars in a table. */
export function markdownReport({ title, subtitle, sections }: Report): string {
  const parts = [
    `# ${title}`,
    ...(subtitle === undefined ? [] : [subtitle]),
    ...sections.flatMap(({ heading, blocks }) => [`## ${heading}`, ...blocks.map(block)]),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** A table padded so that its source is readable too. */
export function markdownTable({ columns, rows }: Pick<TableBlock, 'columns' | 'rows'>): string {
  const cells = rows.map((row) => columns.map((_, i) => escapeCell(row[i] ?? '')));
  const widths = columns.map(({ name }, i) =>
    Math.max(3, length(name), ...cells.map((row) => length(row[i] ?? ''))),
  );
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, i) => pad(cell, widths[i] ?? 0, columns[i])).join(' | ')} |`;
  const rule = columns.map(({ align }, i) => {
    const dashes = '-'.repeat((widths[i] ?? 3) + 1);
    return align === 'right' ? `${dashes}:` : `:${dashes}`;
  });
  return [line(columns.map(({ name }) => name)), `|${rule.join('|')}|`, ...cells.map(line)].join(
    '\n',
  );
}

function block(content: Block): string {
  switch (content.kind) {
    case 'text':
      return content.text;
    case 'code':
      return fenced(content.text);
    case 'figures':
      return content.items.map(({ label, value }) => `- ${label}: **${value}**`).join('\n');
    case 'table':
      return (
        (content.caption === undefined ? '' : `${content.caption}\n\n`) + markdownTable(content)
      );
    case 'lines':
      return lines(content);
    case 'bars':
      return markdownTable({
        columns: [{ name: content.title }, { name: content.xLabel, align: 'right' }],
        rows: content.bars.map(({ label, value, error = 0 }) => [
          label,
          formatWithError(value, error),
        ]),
      });
  }
}

function fenced(text: string): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((ticks) => ticks.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}

function lines({ title, xLabel, series }: LineChart): string {
  const curves = series.map(({ name, points }) => {
    const [first, last] = [points[0], points.at(-1)];
    if (!first || !last) return `- ${name}: no points`;
    return `- ${name}: ${formatNumber(first.y)} → ${formatNumber(last.y)} (${xLabel} ${formatNumber(first.x)} to ${formatNumber(last.x)})`;
  });
  return [`**${title}**`, '', ...curves].join('\n');
}

function escapeCell(text: string): string {
  return text.replace(/\|/g, '\\|').replace(/\r?\n/g, ' ');
}

function length(text: string): number {
  return [...text].length;
}

function pad(cell: string, width: number, column: Column | undefined): string {
  const blank = ' '.repeat(Math.max(0, width - length(cell)));
  return column?.align === 'right' ? blank + cell : cell + blank;
}
