import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { encodeCompressedTensors } from '../../../src/checkpoint/formats/compressed-tensors.js';
import { rtn } from '../../../src/quant/methods/rtn.js';
import { schemes } from '../../../src/quant/schemes/index.js';
import type { QuantScheme } from '../../../src/quant/schemes/scheme.js';
import { dequantize } from '../../../src/tensor/weight.js';
import { type GoldenTensor, goldenInput, hex } from './golden-input.js';

interface Case {
  readonly num_bits: 4 | 8;
  readonly symmetric: boolean;
  readonly group_size: number | null;
  readonly dtype: 'float32' | 'bfloat16';
  readonly tensors: Readonly<Record<string, GoldenTensor>>;
  readonly dequantized: GoldenTensor;
}

const { cases } = JSON.parse(readFileSync('fixtures/golden/compressed-tensors.json', 'utf8')) as {
  cases: Case[];
};

describe('the same bytes as compressed-tensors', () => {
  test.each(cases)(
    '$num_bits bits, symmetric $symmetric, group $group_size, $dtype',
    ({ num_bits, symmetric, group_size, dtype, tensors, dequantized }) => {
      const scheme = schemes[`int${num_bits}`] as QuantScheme;
      const stored = dtype === 'float32' ? 'F32' : 'BF16';
      const data = rtn(scheme, goldenInput(dtype), [8, 64], {
        groupSize: group_size ?? 64,
        dtype: stored,
        asymmetric: !symmetric,
      });
      const written = encodeCompressedTensors('m', data, stored);
      const got = Object.fromEntries(written.map(({ name, bytes }) => [name.slice(2), hex(bytes)]));
      const want = Object.entries(tensors).map(([name, tensor]) => [name, tensor.hex]);
      expect(got).toEqual(Object.fromEntries(want));
      expect(hex(dequantize(data))).toBe(dequantized.hex);
    },
  );
});
