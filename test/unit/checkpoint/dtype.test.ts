import { describe, expect, test } from 'vitest';
import { type Dtype, toDtype, toFloats } from '../../../src/checkpoint/dtype.js';
import { randomNormal } from '../../helpers/random.js';

const bytesOf = (array: ArrayBufferView) =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const u16 = (bytes: Uint8Array) => new Uint16Array(bytes.slice().buffer);

/** The value of a half-precision number, from its definition. */
function halfValue(bits: number): number {
  const [sign, exponent, mantissa] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** Rounds to a multiple of the unit in the last place, ties to even, with `digits` significant bits. */
function roundTo(
  value: number,
  { digits, lowest, max }: { digits: number; lowest: number; max: number },
) {
  if (!Number.isFinite(value) || value === 0) return value;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))) - digits + 1, lowest);
  const scaled = Math.abs(value) / 2 ** exponent;
  const floor = Math.floor(scaled);
  const up = scaled - floor > 0.5 || (scaled - floor === 0.5 && floor % 2 === 1);
  const rounded = (floor + (up ? 1 : 0)) * 2 ** exponent;
  return Math.sign(value) * (rounded > max ? Infinity : rounded);
}

const HALF = { digits: 11, lowest: -24, max: 65504 };
const BFLOAT = { digits: 8, lowest: -133, max: 3.3895313892515355e38 };

/** Normal numbers at many scales, halfway cases, limits and specials. */
const samples = Float32Array.from([
  ...randomNormal(4000).map((value, i) => value * 10 ** ((i % 60) - 30)),
  ...[
    1 + 2 ** -11,
    1 + 3 * 2 ** -11,
    1 + 2 ** -8,
    1 + 3 * 2 ** -8,
    2 ** -25,
    3 * 2 ** -25,
    2 ** -24,
    2 ** -14,
  ],
  ...[
    65504,
    65519.99,
    65520,
    65536,
    -65520,
    3.39e38,
    3.4e38,
    2 ** -133,
    2 ** -134,
    3 * 2 ** -134,
    1e-45,
  ],
  ...[0, -0, Infinity, -Infinity, 2 ** -14 - 2 ** -26],
]);

test('every half-precision number is read exactly', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const values = toFloats(bytesOf(all), 'F16');
  expect([...all].filter((bits) => !Object.is(values[bits], halfValue(bits)))).toEqual([]);
});

test.each([
  ['F16', HALF],
  ['BF16', BFLOAT],
] as const)(
  '%s is rounded to the nearest, ties to even, beyond the largest to infinity',
  (dtype, format) => {
    // Many at once are converted natively.
    for (const some of [samples, samples.subarray(-20)]) {
      const back = toFloats(toDtype(some, dtype), dtype);
      const wrong = [...some].filter((value, i) => back[i] !== roundTo(value, format));
      expect(wrong).toEqual([]);
    }
  },
);

test('a NaN stays one and -0 keeps its sign', () => {
  const odd = Float32Array.of(NaN, -0);
  new Uint32Array(odd.buffer)[0] = 0x7f800001; // a mantissa that rounding would carry into infinity or drop
  expect([...u16(toDtype(odd, 'BF16'))]).toEqual([0x7fc0, 0x8000]);
  expect([...u16(toDtype(odd, 'F16'))]).toEqual([0x7e00, 0x8000]);
});

describe('integers and doubles', () => {
  test.each<[Dtype, ArrayBufferView, number[]]>([
    ['F64', Float64Array.of(1.5, -1e300), [1.5, -Infinity]],
    ['I64', BigInt64Array.of(-5n, 2n ** 40n), [-5, 2 ** 40]],
    ['U64', BigUint64Array.of(2n ** 63n), [2 ** 63]],
    ['I32', Int32Array.of(-7, 2 ** 30), [-7, 2 ** 30]],
    ['U32', Uint32Array.of(2 ** 31), [2 ** 31]],
    ['I16', Int16Array.of(-300), [-300]],
    ['U16', Uint16Array.of(65535), [65535]],
    ['I8', Int8Array.of(-128, 127), [-128, 127]],
    ['U8', Uint8Array.of(255), [255]],
    ['BOOL', Uint8Array.of(0, 1), [0, 1]],
    ['F32', Float32Array.of(0.1), [Math.fround(0.1)]],
  ])('%s', (dtype, array, expected) => {
    expect([...toFloats(bytesOf(array), dtype)]).toEqual(expected);
  });
});

test('unaligned bytes are read and the values are a copy', () => {
  const buffer = new Uint8Array(9);
  buffer.set(bytesOf(Float32Array.of(1, 2)), 1);
  const values = toFloats(buffer.subarray(1), 'F32');
  expect([...values]).toEqual([1, 2]);
  const aligned = bytesOf(Float32Array.of(3));
  toFloats(aligned, 'F32')[0] = 4;
  expect(toFloats(aligned, 'F32')[0]).toBe(3);
});
