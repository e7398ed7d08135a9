import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type GgufTensor, type GgufValue, writeGguf } from '../../../bench/models/gguf.js';
import { ggufName, writeGgufModel } from '../../../bench/models/gguf-model.js';
import { floats, packQ4 } from '../../../bench/models/q4-0.js';
import { randomTensor } from '../../../bench/models/random-weights.js';
import {
  matmulWeights,
  parameterCount,
  parseShape,
  tensorShapes,
} from '../../../bench/models/shape.js';
import { benchTokenizer } from '../../../bench/models/tokenizer.js';
import { bytesPerToken, cacheBytes } from '../../../bench/works/variants.js';
import { toDtype } from '../../../src/checkpoint/writer.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

/** Takes values off the front of bytes. */
class Cursor {
  at = 4;
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  take(size: number): Buffer {
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  u32 = () => this.take(4).readUInt32LE();
  u64 = () => Number(this.take(8).readBigUInt64LE());
  string = () => this.take(this.u64()).toString();

  /** A value of a GGUF type, by its number. */
  value(type: number): unknown {
    if (type === 8) return this.string();
    if (type === 4) return this.u32();
    if (type === 5) return this.take(4).readInt32LE();
    if (type === 6) return this.take(4).readFloatLE();
    if (type === 7) return this.take(1)[0] === 1;
    const [inner, count] = [this.u32(), this.u64()];
    return Array.from({ length: count }, () => this.value(inner));
  }
}

/** Reads the parts of a GGUF file that the tests look at. */
function readGguf(path: string) {
  const bytes = readFileSync(path);
  const cursor = new Cursor(bytes);
  const version = cursor.u32();
  const [tensorCount, valueCount] = [cursor.u64(), cursor.u64()];
  const metadata = Object.fromEntries(
    Array.from({ length: valueCount }, () => [cursor.string(), cursor.value(cursor.u32())]),
  );
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = cursor.string();
    const axes = Array.from({ length: cursor.u32() }, cursor.u64);
    return { name, axes, type: cursor.u32(), offset: cursor.u64() };
  });
  const start = Math.ceil(cursor.at / 32) * 32;
  return { magic: bytes.toString('latin1', 0, 4), version, metadata, tensors, start, bytes };
}

describe('GGUF', () => {
  const TENSORS: readonly GgufTensor[] = [
    { name: 'a', shape: [3], type: 'F32', bytes: () => new Uint8Array(12).fill(1) },
    { name: 'b', shape: [2, 32], type: 'Q4_0', bytes: () => new Uint8Array(36).fill(2) },
    { name: 'c', shape: [1, 5], type: 'BF16', bytes: () => new Uint8Array(10).fill(3) },
  ];
  const METADATA: Readonly<Record<string, GgufValue>> = {
    text: { type: 'string', value: 'größer' },
    count: { type: 'u32', value: 7 },
    small: { type: 'f32', value: 0.5 },
    yes: { type: 'bool', value: true },
    names: { type: 'strings', value: ['x', 'yz'] },
    kinds: { type: 'i32s', value: [1, -3] },
  };

  test('a file has its values, and its tensors on multiples of 32 bytes', async () => {
    const path = join(temporaryFolder(), 'small.gguf');
    await writeGguf(path, METADATA, TENSORS);
    const { magic, version, metadata, tensors, start, bytes } = readGguf(path);
    expect([magic, version]).toEqual(['GGUF', 3]);
    const values = Object.entries(METADATA).map(([key, { value }]) => [key, value]);
    expect(metadata).toEqual(Object.fromEntries(values));
    expect(tensors).toEqual([
      { name: 'a', axes: [3], type: 0, offset: 0 },
      { name: 'b', axes: [32, 2], type: 2, offset: 32 },
      { name: 'c', axes: [5, 1], type: 30, offset: 96 },
    ]);
    expect([0, 32, 67, 96, 105].map((at) => bytes[start + at])).toEqual([1, 2, 2, 3, 3]);
    expect(bytes.length).toBe(start + 128);
  });

  test('a tensor of another size is refused', async () => {
    const [tensor] = TENSORS as [GgufTensor];
    const wrong = { ...tensor, bytes: () => new Uint8Array(11) };
    const path = join(temporaryFolder(), 'wrong.gguf');
    await expect(writeGguf(path, {}, [wrong])).rejects.toThrow('a: expected 12 bytes, got 11');
  });

  test('a model has every tensor under its name there, and rotary rows in pairs', async () => {
    const shape = parseShape('tiny');
    const path = join(temporaryFolder(), 'tiny.gguf');
    const tokenizer = benchTokenizer('.', shape.vocab);
    await writeGgufModel(path, shape, { type: 'BF16', tokenizer });
    const { metadata, tensors, start, bytes } = readGguf(path);
    expect(metadata['llama.block_count']).toBe(2);
    expect(metadata['tokenizer.ggml.tokens']).toHaveLength(shape.vocab);
    expect(tensors.map(({ name }) => name)).toEqual(
      tensorShapes(shape).map(({ name }) => ggufName(name)),
    );
    const query = tensors.find(({ name }) => name === 'blk.0.attn_q.weight');
    const source = tensorShapes(shape).find(({ name }) =>
      name.endsWith('0.self_attn.q_proj.weight'),
    );
    const rows = randomTensor(source as { name: string; shape: number[] });
    const at = start + (query?.offset ?? 0);
    // Heads of 16: rows 0 and 8 of a head are the first rotary pair.
    expect(bytes.subarray(at + 128, at + 256)).toEqual(rows.subarray(8 * 128, 9 * 128));
    expect(bytes.subarray(at + 256, at + 384)).toEqual(rows.subarray(128, 256));
  });
});

test('Q4_0 codes are within a step of the values', () => {
  const values = Float32Array.from(
    { length: 96 },
    (_, i) => Math.sin(7 * i) * 10 ** ((i >> 5) - 2),
  );
  const bf16 = toDtype(values, 'BF16');
  const exact = floats(bf16);
  const packed = packQ4(bf16);
  expect(packed.length).toBe(54);
  for (let block = 0; block < 3; block++) {
    const at = 18 * block;
    const scale = half((packed[at] as number) | ((packed[at + 1] as number) << 8));
    for (let i = 0; i < 32; i++) {
      const byte = packed[at + 2 + (i % 16)] as number;
      const value = scale * ((i < 16 ? byte & 15 : byte >> 4) - 8);
      // Half a step; a whole one at the end that has 7 codes instead of 8; and the scale is rounded.
      const step = Math.abs(scale);
      expect(Math.abs(value - (exact[32 * block + i] as number))).toBeLessThanOrEqual(step * 1.005);
    }
  }
  expect(packQ4(new Uint8Array(64))).toEqual(Uint8Array.of(0, 0, ...Array(16).fill(0x88)));
});

function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const size = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

describe('shapes', () => {
  test('TinyLlama has 1.1 billion parameters and reads its matrices per token', () => {
    const shape = parseShape('tinyllama');
    expect(parameterCount(shape)).toBe(1_100_048_384);
    expect(matmulWeights(shape)).toBe(1_034_420_224);
  });

  test('a tied head counts as a matrix', () => {
    const shape = parseShape('qwen2.5-0.5b');
    expect(parameterCount(shape)).toBe(494_032_768);
    expect(matmulWeights(shape)).toBe(parameterCount(shape) - 24 * (2 * 896 + 1152) - 896);
  });

  test('a token reads the codes and scales of every matrix; a tied head has 8 bits beside int4', () => {
    const shape = parseShape('qwen2.5-0.5b');
    const head = 151936 * 896;
    const layers = matmulWeights(shape) - head;
    expect(bytesPerToken(shape, 'int4', 32)).toBe(layers * (0.5 + 2 / 32) + head * (1 + 2 / 32));
    expect(bytesPerToken(shape, 'nf4', 32)).toBe(matmulWeights(shape) * (0.5 + 4 / 64));
    expect(bytesPerToken(shape, 'bf16', 32)).toBe(2 * matmulWeights(shape));
  });

  test('a token reads the keys and values of those before it', () => {
    // Two tensors of two bytes a value, 22 layers, 4 heads of 64.
    expect(cacheBytes(parseShape('tinyllama'), 100)).toBe(2 * 2 * 22 * 256 * 100);
  });

  test('any sizes can be named; what does not fit is refused', () => {
    expect(parseShape('160/320/2/2/1/1100/tied')).toMatchObject({ hidden: 160, tied: true });
    for (const text of ['nothing', '160/320/2/3/1/1100', '160/320/2/2/1/1000', '1/2/3']) {
      expect(() => parseShape(text)).toThrow(`--shape ${text}: expected`);
    }
  });
});
