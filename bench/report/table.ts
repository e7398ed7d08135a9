import type { Row } from './rows.js';

const HEADER = ['work', 'unit', 'llmkit', 'peers', 'ratio', 'limit', 'share'];
const RIGHT: ReadonlySet<number> = new Set([2, 5, 6]);

/** Rows for people: aligned columns, peers beside each other. */
export function tableOf(rows: readonly Row[]): string {
  const lines = [HEADER, ...rows.map(cellsOf)];
  const widths = HEADER.map((_, i) => Math.max(...lines.map((cells) => width(cells[i] ?? ''))));
  const texts = lines.map((cells) =>
    cells
      .map((cell, i) => pad(cell, widths[i] as number, RIGHT.has(i)))
      .join('  ')
      .trimEnd(),
  );
  texts.splice(1, 0, widths.map((size) => '─'.repeat(size)).join('  '));
  return `${texts.join('\n')}\n`;
}

function cellsOf(row: Row): string[] {
  const { work, unit, llmkit, peers, ratio, limit, share_of_limit: share } = row;
  const listed = Object.entries(peers).map(([name, figure]) => `${name} ${shown(figure)}`);
  const ratios = Object.values(ratio).map((value) => `${value.toFixed(2)}x`);
  return [
    work,
    unit,
    shown(llmkit),
    listed.join(' · '),
    ratios.join(' · '),
    limit === null ? '' : shown(limit),
    share === null ? '' : `${Math.round(100 * share)} %`,
  ];
}

function shown(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 0.1 ? 2 : 4);
}

function pad(text: string, size: number, right: boolean): string {
  const space = ' '.repeat(Math.max(0, size - width(text)));
  return right ? space + text : text + space;
}

/** Characters, not UTF-16 units. */
function width(text: string): number {
  return [...text].length;
}
