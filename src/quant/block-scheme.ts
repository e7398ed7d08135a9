import type { CodeTable } from '../tensor/code-tables.js';
import { blockMaxima, codebook, codesOfBlocks, nearestRank } from './codebook.js';
import { nestScales } from './nested-scales.js';
import type { QuantScheme } from './schemes/scheme.js';

/** A scheme of bitsandbytes' 4-bit family: blocks of the flattened matrix and sixteen values. */
export function blockScheme(format: 'nf4' | 'fp4', table: CodeTable): QuantScheme {
  const book = codebook(table);
  return {
    format,
    bits: 4,
    layout: 'bitsandbytes',
    defaultGroupSizes: [64],
    groupsCrossRows: true,
    allowedGroupSizes: { smallest: 32, largest: 4096 },
    supports: { doubleQuant: true, asymmetric: false },
    maxError: book.maxError,

    levels: {
      codes: 16,
      zeroCode: 0, // no scheme of this family has zero points
      steps: (value, scale) => Math.fround(value * Math.fround(1 / scale)),
      nearest: (steps) => book.values[nearestRank(steps, book)] as number,
      stored: (scales) => scales,
    },

    grid: (values, { groupSize }) => ({ scales: blockMaxima(values, groupSize) }),

    encode(values, [rows, cols], grid, { groupSize, doubleQuant }) {
      const codes = codesOfBlocks(values, grid.scales, { book, blockSize: groupSize });
      const scales = doubleQuant ? nestScales(grid.scales) : grid.scales;
      return { format, rows, cols, codes, groupSize, scales };
    },
  };
}
