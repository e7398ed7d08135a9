import { beforeAll, describe, expect, test } from 'vitest';
import { toDtype } from '../../../src/checkpoint/writer.js';
import { methodNames } from '../../../src/quant/methods/index.js';
import { nativeQuantizer, portableQuantizer } from '../../../src/quant/quantizer.js';
import { schemes } from '../../../src/quant/schemes/index.js';
import type { StoredDtype } from '../../../src/quant/schemes/scheme.js';
import { quantizeNative } from '../../../src/tensor/backends/native-quantizer.js';
import type { WeightData } from '../../../src/tensor/weight.js';
import { isInvariant, testedBackends, useTestBackend } from '../../helpers/backends.js';

const FORMATS = { F32: 'f32', F16: 'f16', BF16: 'bf16' } as const;

/** Ordinary weights, rows of zeros, of numbers too small for a reciprocal or a search, and of exact ties. */
function matrixOf(rows: number, cols: number, dtype: StoredDtype): WeightData {
  const values = Float32Array.from({ length: rows * cols }, (_, i) => {
    const row = Math.floor(i / cols) % 7;
    if (row === 1) return 0;
    if (row === 2) return (i % 7) * 1e-40;
    if (row === 3) return ((i % 31) - 15) / 2;
    if (row === 4) return (i % 5) * 1e-14;
    if (row === 5) return Math.sin(i * i) ** 9 * 3e4;
    return Math.sin(i * i) * 0.1;
  });
  return { format: FORMATS[dtype], rows, cols, codes: toDtype(values, dtype) };
}

function partsOf({ codes, scales, zeros, groupSize }: WeightData): unknown {
  return { codes, scales, zeros, groupSize };
}

interface Variant {
  readonly scheme: string;
  readonly cols: number;
  readonly groupSize: number;
  readonly asymmetric?: boolean;
  readonly doubleQuant?: boolean;
}

const VARIANTS: readonly Variant[] = [
  { scheme: 'int4', cols: 96, groupSize: 32 },
  { scheme: 'int4', cols: 96, groupSize: 32, asymmetric: true },
  { scheme: 'int4', cols: 35, groupSize: 5, asymmetric: true },
  { scheme: 'int4', cols: 35, groupSize: 35 },
  { scheme: 'int8', cols: 100, groupSize: 100 },
  { scheme: 'int8', cols: 33, groupSize: 11, asymmetric: true },
  { scheme: 'nf4', cols: 37, groupSize: 64 },
  { scheme: 'nf4', cols: 128, groupSize: 64, doubleQuant: true },
  { scheme: 'fp4', cols: 37, groupSize: 32 },
  { scheme: 'fp4', cols: 4100, groupSize: 4096, doubleQuant: true },
];

describe.each(testedBackends.filter(isInvariant))('the quantizer of %s', (backend) => {
  beforeAll(() => useTestBackend(backend));

  const each = VARIANTS.flatMap((variant) => methodNames.map((method) => ({ method, ...variant })));
  for (const { scheme: name, cols, ...options } of each) {
    for (const dtype of ['F32', 'BF16', 'F16'] as const) {
      const what = `${name} ${JSON.stringify(options)} of ${cols} columns in ${dtype}`;
      test(`gives the portable one's bytes: ${what}`, async () => {
        const scheme = schemes[name];
        if (!scheme) throw new Error(name);
        const matrix = { name: 'm', values: matrixOf(23, cols, dtype) };
        const settings = { scheme, dtype, ...options };
        const want = await portableQuantizer(matrix, settings);
        const got = await nativeQuantizer(matrix, settings);
        expect(partsOf(got.data)).toEqual(partsOf(want.data));
        expect(await got.relativeError()).toBeCloseTo(await want.relativeError(), 6);
      });
    }
  }

  test('refuses a value that is not finite', async () => {
    const { int4 } = schemes;
    if (!int4) throw new Error('int4');
    const values = matrixOf(2, 32, 'F32');
    new DataView(values.codes.buffer).setFloat32(40, Number.NaN, true);
    for (const method of methodNames) {
      const settings = { scheme: int4, method, dtype: 'F32', groupSize: 32 } as const;
      await expect(nativeQuantizer({ name: 'm', values }, settings)).rejects.toThrow(
        'm: holds a value that is not finite',
      );
    }
  });
});

test.skipIf(!testedBackends.includes('cuda'))(
  'a matrix that goes through the GPU in pieces is quantized as in one',
  async () => {
    const values = matrixOf(521, 4096, 'F32');
    const format = { format: 'nf4', groupSize: 64, scaleType: 'f32', zeroPoints: false } as const;
    const spec = { ...format, method: 'rtn' } as const;
    const got = await quantizeNative(values, spec, { device: 'cuda' });
    const want = await quantizeNative(values, spec, { device: 'cpu' });
    if (!got || !want) throw new Error('not finite');
    // Comparing a million elements one by one takes long.
    expect(Buffer.compare(got.data.codes, want.data.codes)).toBe(0);
    expect(got.data.scales).toEqual(want.data.scales);
    expect(got.relativeError).toBe(want.relativeError);
  },
);
