import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type MatrixRows, quantizeMatrix, relativeError } from '../../../src/quant/matrix.js';
import { methods } from '../../../src/quant/methods/index.js';
import { schemes } from '../../../src/quant/schemes/index.js';
import { nf4 } from '../../../src/quant/schemes/nf4.js';
import { dequantize, type WeightData } from '../../../src/tensor/weight.js';

/** Larger than what is quantized at one time. */
const [ROWS, COLS] = [1100, 4160];
const values = Float32Array.from({ length: ROWS * COLS }, (_, i) => Math.sin(i * i) * 0.1);
const matrix: MatrixRows = {
  name: 'm',
  rows: ROWS,
  cols: COLS,
  read: (start, end) => values.subarray(start * COLS, end * COLS),
};

function partsOf({ codes, scales, zeros }: WeightData): (Uint8Array | Float32Array | undefined)[] {
  const nested =
    scales instanceof Float32Array || !scales ? [scales] : [scales.codes, scales.absmax];
  return [codes, ...nested, zeros];
}

function sha256(part: Uint8Array | Float32Array | undefined): string | undefined {
  return part && createHash('sha256').update(part).digest('hex');
}

describe.each(Object.entries(schemes))('%s', (_name, scheme) => {
  const variants = [
    {},
    ...(scheme.supports.doubleQuant ? [{ doubleQuant: true }] : []),
    ...(scheme.supports.asymmetric ? [{ asymmetric: true }] : []),
  ];

  // 128 does not divide 4160, so that blocks of 4-bit floats run across rows.
  test.each(variants)('by rows gives the codes of the whole matrix %j', (variant) => {
    const groupSize = scheme.groupsCrossRows ? 128 : 64;
    const options = { groupSize, dtype: 'BF16', ...variant } as const;
    const byRows = quantizeMatrix(matrix, { ...options, scheme, method: methods.rtn });
    const whole = methods.rtn(scheme, values, [ROWS, COLS], options);
    expect(partsOf(byRows).map(sha256)).toEqual(partsOf(whole).map(sha256));
  });
});

test('the relative error is that of the restored matrix', () => {
  const small = { ...matrix, rows: 3 };
  const options = { groupSize: 64, dtype: 'F32', doubleQuant: true } as const;
  const data = methods.rtn(nf4, values.subarray(0, 3 * COLS), [3, COLS], options);
  const restored = dequantize(data);
  const norm = (of: (i: number) => number) =>
    Math.sqrt(restored.reduce((sum, _, i) => sum + of(i) ** 2, 0));
  const want = norm((i) => (values[i] ?? 0) - (restored[i] ?? 0)) / norm((i) => values[i] ?? 0);
  expect(relativeError(small, data)).toBeCloseTo(want, 8);
  expect(want).toBeGreaterThan(0.05);
});

test.each([Number.NaN, Infinity, -Infinity])('%s in a matrix is an error that names it', (bad) => {
  const read = () => Float32Array.from({ length: 64 }, (_, i) => (i === 9 ? bad : 1));
  const options = { groupSize: 64, dtype: 'F32' } as const;
  const broken = { name: 'broken', rows: 1, cols: 64, read };
  expect(() => quantizeMatrix(broken, { ...options, scheme: nf4, method: methods.rtn })).toThrow(
    /broken: .*finite/,
  );
});
