import { describe, expect, test } from 'vitest';
import { encodeBitsandbytes } from '../../../src/checkpoint/formats/bitsandbytes.js';
import { rtn } from '../../../src/quant/methods/rtn.js';
import { fp4 } from '../../../src/quant/schemes/fp4.js';
import { schemes } from '../../../src/quant/schemes/index.js';
import { int4 } from '../../../src/quant/schemes/int4.js';
import { nf4 } from '../../../src/quant/schemes/nf4.js';
import { dequantize } from '../../../src/tensor/weight.js';
import { randomNormal } from '../../helpers/random.js';
import { goldenFormats, goldenInput, hex } from './golden-input.js';

const golden = goldenFormats();
const shape = [8, 64] as const;

// Runs over the registry: a new scheme is tested the moment it is listed.
describe.each(Object.entries(schemes))('%s', (_name, scheme) => {
  const cols = 256;
  const variants = [{}, ...(scheme.supports.asymmetric ? [{ asymmetric: true }] : [])];

  test.each(variants)('keeps every weight within the error it promises %j', (variant) => {
    const values = randomNormal(3 * cols);
    const options = { groupSize: 64, dtype: 'F32', ...variant } as const;
    const restored = dequantize(rtn(scheme, values, [3, cols], options));
    values.forEach((w, i) => {
      const group = values.subarray(i - (i % 64), i - (i % 64) + 64);
      const largest = group.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      const error = Math.abs(w - (restored[i] ?? Number.NaN));
      // A step of int8 is 2^-7 of the range: float32 keeps 2^-15 of it.
      expect(error).toBeLessThanOrEqual(scheme.maxError * largest * (1 + 2 ** -14));
    });
  });

  test.each(variants)('restores zeros exactly %j', (variant) => {
    const zeros = new Float32Array(2 * cols);
    const options = { groupSize: 64, dtype: 'BF16', ...variant } as const;
    const restored = dequantize(rtn(scheme, zeros, [2, cols], options));
    expect(restored.every((value) => value === 0)).toBe(true);
  });

  test('keeps numbers too small for a reciprocal finite', () => {
    const tiny = new Float32Array(64).fill(1e-41);
    const data = rtn(scheme, tiny, [1, 64], { groupSize: 64, dtype: 'F32' });
    for (const value of dequantize(data)) expect(Math.abs(value)).toBeLessThanOrEqual(1e-40);
  });
});

describe.skipIf(golden === undefined)('bitsandbytes, byte for byte', () => {
  const cases = (['nf4', 'fp4'] as const).flatMap((name) =>
    (['float32', 'bfloat16'] as const).flatMap((dtype) =>
      [false, true].map((doubleQuant) => ({ name, dtype, doubleQuant })),
    ),
  );
  test.each(cases)(
    '$name $dtype, double quantization $doubleQuant',
    ({ name, dtype, doubleQuant }) => {
      const want = golden?.[`bnb_${name}_${dtype}_${doubleQuant ? 'dq' : 'sq'}`] ?? {};
      const options = { groupSize: 64, dtype: 'F32', doubleQuant } as const;
      const data = rtn(name === 'nf4' ? nf4 : fp4, goldenInput(dtype), shape, options);
      const { dequant: _, quant_state_json: __, ...tensors } = want;
      const written = encodeBitsandbytes('P', data, dtype);
      const got = Object.fromEntries(written.map(({ name, bytes }) => [name.slice(2), hex(bytes)]));
      expect(got).toEqual(
        Object.fromEntries(Object.entries(tensors).map(([key, tensor]) => [key, tensor.hex])),
      );
    },
  );
});

describe.skipIf(golden === undefined)('compressed-tensors int4, code for code', () => {
  test.each([false, true])('asymmetric %s', (asymmetric) => {
    const want = golden?.[`ct_w4_g32_${asymmetric ? 'asym' : 'sym'}`] ?? {};
    const options = { groupSize: 32, dtype: 'F32', asymmetric } as const;
    const data = rtn(int4, goldenInput(), shape, options);
    expect(hex(data.scales as Float32Array)).toBe(want.weight_scale?.hex);
    // The low nibble first, eight to a little-endian word: the same bytes as the packed words.
    expect(hex(data.codes)).toBe(want.weight_packed?.hex);
    expect(hex(dequantize(data))).toBe(want.dequant?.hex);
  });
});
