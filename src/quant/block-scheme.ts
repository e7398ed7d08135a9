import type { CodeTable } from '../tensor/code-tables.js';
import { blockMaxima, codebook, codesOfBlocks } from './codebook.js';
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

    quantize(values, [rows, cols], { groupSize, doubleQuant }) {
      const maxima = blockMaxima(values, groupSize);
      const codes = codesOfBlocks(values, maxima, { book, blockSize: groupSize });
      const scales = doubleQuant ? nestScales(maxima) : maxima;
      return { format, rows, cols, codes, groupSize, scales };
    },
  };
}
