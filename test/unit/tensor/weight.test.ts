import { describe, expect, test } from 'vitest';
import { dequantize, Weight, type WeightData } from '../../../src/tensor/weight.js';
import { expectClose } from './op-check.js';
import { randomWeight, WEIGHT_KINDS } from './weights.js';

const bytes = (...values: number[]) => Uint8Array.from(values);

describe('dequantize', () => {
  test('bf16 and f16 by their bits, subnormal and infinite ones too', () => {
    const bf16 = {
      format: 'bf16',
      rows: 1,
      cols: 2,
      codes: bytes(0x80, 0x3f, 0x49, 0xc0),
    } as const;
    expect([...dequantize(bf16)]).toEqual([1, -3.140625]);
    const codes = bytes(0, 0x3c, 0, 0xc2, 1, 0, 0, 0x7c, 0xff, 0x7b);
    expect([...dequantize({ format: 'f16', rows: 1, cols: 5, codes })]).toEqual([
      1,
      -3,
      2 ** -24,
      Infinity,
      65504,
    ]);
  });

  test('int4: the even element is the low nibble; groups run along rows; zero is 8', () => {
    const data: WeightData = {
      format: 'int4',
      rows: 2,
      cols: 4,
      codes: bytes(0x98, 0x0f, 0x78, 0xa6),
      groupSize: 2,
      scales: Float32Array.of(1, 2, 4, 8),
    };
    expect([...dequantize(data)]).toEqual([0, 1, 14, -16, 0, -4, -16, 16]);
    expect([...dequantize({ ...data, zeros: bytes(0, 1, 2, 3) })]).toEqual([
      8, 9, 28, -2, 24, 20, 24, 56,
    ]);
    expect([...dequantize(data, 1, 2)]).toEqual([0, -4, -16, 16]);
  });

  test('int8: one scale per row; zero is 128', () => {
    const data: WeightData = {
      format: 'int8',
      rows: 2,
      cols: 2,
      codes: bytes(128, 129, 0, 255),
      groupSize: 2,
      scales: Float32Array.of(0.5, 0.25),
    };
    expect([...dequantize(data)]).toEqual([0, 0.5, -32, 31.75]);
  });

  test('nf4 and fp4: the even element is the high nibble; blocks straddle rows', () => {
    const nf4: WeightData = {
      format: 'nf4',
      rows: 2,
      cols: 3,
      codes: bytes(0x0f, 0x7f, 0x0f),
      groupSize: 4,
      scales: Float32Array.of(2, 10),
    };
    expect([...dequantize(nf4)]).toEqual([-2, 2, 0, 2, -10, 10]);
    const fp4 = { ...nf4, format: 'fp4', codes: bytes(0x3b, 0x5d, 0x13) } as const;
    const expected = [2, -2, 1, -1, 0.052083333, 10];
    expectClose('fp4', dequantize(fp4), expected);
  });

  test('double quantization: scale = map[code] · absmax[block] + offset', () => {
    const map = new Float32Array(256).fill(0.5, 3);
    const scales = {
      codes: bytes(0, 3, 9),
      map,
      absmax: Float32Array.of(4, 6),
      blockSize: 2,
      offset: 1,
    };
    const data: WeightData = {
      format: 'nf4',
      rows: 3,
      cols: 2,
      codes: bytes(0xff, 0xff, 0xff),
      groupSize: 2,
      scales,
    };
    expect([...dequantize(data)]).toEqual([1, 1, 3, 3, 4, 4]);
  });

  test.each(Object.keys(WEIGHT_KINDS))('rows of %s are rows of the whole', (kind) => {
    const { data } = randomWeight(kind, 9, 64);
    const whole = dequantize(data);
    expect(whole.every(Number.isFinite)).toBe(true);
    expect(dequantize(data, 3, 5)).toEqual(whole.subarray(3 * 64, 5 * 64));
  });
});

describe('Weight', () => {
  test('refuses arrays of another length, naming them', () => {
    const data: WeightData = {
      format: 'int4',
      rows: 2,
      cols: 4,
      codes: new Uint8Array(4),
      groupSize: 4,
      scales: new Float32Array(2),
    };
    expect(() => new Weight({ ...data, codes: new Uint8Array(5) })).toThrow(
      /int4 codes .* 4, got 5/,
    );
    expect(() => new Weight({ ...data, scales: new Float32Array(3) })).toThrow(
      /scales .* 2, got 3/,
    );
    expect(() => new Weight({ ...data, zeros: new Uint8Array(1) })).toThrow(/zeros .* 2, got 1/);
    const { scales: _, ...unscaled } = data;
    expect(() => new Weight(unscaled)).toThrow(/int4 needs scales/);
  });

  test('counts codes, scales and zeros', () => {
    expect(randomWeight('int4 with zeros', 3, 32).sizeBytes).toBe(48 + 6 * 4 + 6);
    expect(randomWeight('nf4 double', 2, 128).sizeBytes).toBe(128 + 4 + 256 * 4 + 4);
  });

  test('makes a handle once for each backend and releases it once', () => {
    const weight = randomWeight('f32', 1, 32);
    const events: string[] = [];
    const made = () => ({ id: events.push('made') });
    const handle = (make = made) => weight.handle(make, () => events.push('released'));
    expect(handle()).toBe(handle());
    weight.dispose();
    weight.dispose();
    expect(events).toEqual(['made', 'released']);
    expect(handle()).toEqual({ id: 3 });
    const another = () => ({ id: 0 });
    expect(handle(another)).toEqual({ id: 0 });
    expect(handle()).toEqual({ id: 3 });
    weight.dispose();
    expect(events.slice(3)).toEqual(['released', 'released']);
  });
});
