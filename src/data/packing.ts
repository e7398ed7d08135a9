import type { Example, Row } from './example.js';

/**
 * Puts examples behind each other into rows of at most `maxLength` tokens: longest first, each
 * into the fullest row that still takes it (TRL's `bfd`). Rows come in the order they were begun.
 */
export function packRows(examples: readonly Example[], maxLength: number): Row[] {
  const byLength = [...examples].sort((a, b) => b.ids.length - a.ids.length);
  const rows: Example[][] = [];
  const bySpace = new Map<number, number[]>();
  for (const example of byLength) {
    const length = example.ids.length;
    const [row, space] = takeTightest(bySpace, length, maxLength) ?? [rows.length, maxLength];
    append(rows, row, example);
    const left = bySpace.get(space - length);
    if (left) left.push(row);
    else bySpace.set(space - length, [row]);
  }
  return rows;
}

/** The oldest row among those with the least space that is enough; it leaves the table. */
function takeTightest(
  bySpace: Map<number, number[]>,
  length: number,
  maxLength: number,
): [row: number, space: number] | undefined {
  for (let space = length; space < maxLength; space++) {
    const row = bySpace.get(space)?.shift();
    if (row !== undefined) return [row, space];
  }
  return undefined;
}

function append(rows: Example[][], row: number, example: Example): void {
  const existing = rows[row];
  if (existing) existing.push(example);
  else rows.push([example]);
}

/** One row per example. */
export function singleRows(examples: readonly Example[]): Row[] {
  return examples.map((example) => [example]);
}
