import { Weight, type WeightData, type WeightFormat } from '../../../src/tensor/weight.js';
import { randomNormal } from '../../helpers/random.js';

const BYTES: Readonly<Record<WeightFormat, number>> = {
  f32: 4,
  bf16: 2,
  f16: 2,
  int8: 1,
  int4: 0.5,
  nf4: 0.5,
  fp4: 0.5,
};

/** The ways a weight is stored, each with the options that a format may have. */
export const WEIGHT_KINDS: Readonly<
  Record<string, Partial<WeightData> & { format: WeightFormat }>
> = {
  f32: { format: 'f32' },
  bf16: { format: 'bf16' },
  f16: { format: 'f16' },
  'int8 per row': { format: 'int8', groupSize: 32 },
  'int8 with zeros': { format: 'int8', groupSize: 16, zeros: new Uint8Array() },
  int4: { format: 'int4', groupSize: 16 },
  'int4 with zeros': { format: 'int4', groupSize: 16, zeros: new Uint8Array() },
  nf4: { format: 'nf4', groupSize: 64 },
  'nf4 double': { format: 'nf4', groupSize: 64, scales: new Float32Array() },
  fp4: { format: 'fp4', groupSize: 64 },
};

/** A random weight of one of the kinds; cols is a multiple of 32. */
export function randomWeight(kind: string, rows: number, cols: number): Weight {
  const { format, groupSize, zeros, scales } = WEIGHT_KINDS[kind] as Partial<WeightData> & {
    format: WeightFormat;
  };
  const codes = randomCodes(format, rows * cols);
  if (groupSize === undefined) return new Weight({ format, rows, cols, codes });
  const groups = Math.ceil((rows * cols) / groupSize);
  return new Weight({
    format,
    rows,
    cols,
    codes,
    groupSize,
    scales: scales === undefined ? randomScales(format, groups) : nestedScales(groups),
    ...(zeros && {
      zeros: randomBytes(groups, 3).map((byte) => (format === 'int4' ? byte & 15 : byte)),
    }),
  });
}

/** Misaligned by one byte, as the bytes of a mapped file may be. */
function randomCodes(format: WeightFormat, size: number): Uint8Array {
  const length = Math.ceil(size * BYTES[format]);
  const bytes = new Uint8Array(length + 1).subarray(1);
  const values = randomNormal(size, 7);
  if (format === 'f32') bytes.set(new Uint8Array(values.buffer));
  else if (format === 'bf16') bytes.set(upperHalves(values));
  else bytes.set(randomBytes(length, 5));
  // Of random f16 bits some are infinite: clear the top bit of the exponent.
  if (format === 'f16') for (let i = 1; i < length; i += 2) bytes[i] = (bytes[i] as number) & 0xbf;
  return bytes;
}

function upperHalves(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer).filter((_, i) => i % 4 >= 2);
}

function randomBytes(length: number, seed: number): Uint8Array {
  return Uint8Array.from(randomNormal(length, seed), (x) => Math.floor(Math.abs(x) * 1e6));
}

function randomScales(format: WeightFormat, groups: number): Float32Array {
  const size = format === 'int8' ? 0.01 : format === 'int4' ? 0.1 : 1;
  return randomNormal(groups, 11).map((x) => size * (0.5 + Math.abs(x)));
}

function nestedScales(groups: number) {
  return {
    codes: randomBytes(groups, 13),
    map: Float32Array.from({ length: 256 }, (_, i) => (i - 127) / 128),
    absmax: randomNormal(Math.ceil(groups / 4), 17).map((x) => 0.1 + Math.abs(x) / 4),
    blockSize: 4,
    offset: Math.fround(0.7),
  };
}
