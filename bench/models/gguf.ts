import { type FileHandle, open } from 'node:fs/promises';

/** A value of the header with its GGUF type. */
export type GgufValue =
  | { readonly type: 'u32' | 'f32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'i32s'; readonly value: readonly number[] };

/** How values are stored; a Q4_0 block is 32 values in 18 bytes. */
export type GgufType = 'F32' | 'BF16' | 'Q4_0';

/** A tensor, made when it is its turn to be written. */
export interface GgufTensor {
  readonly name: string;
  /** [rows, columns], as in a checkpoint. */
  readonly shape: readonly number[];
  readonly type: GgufType;
  bytes(): Uint8Array;
}

/** The type's number and the bytes of `values` values. */
const TYPES = {
  F32: { id: 0, sizeBytes: (values: number) => 4 * values },
  Q4_0: { id: 2, sizeBytes: (values: number) => (18 * values) / 32 },
  BF16: { id: 30, sizeBytes: (values: number) => 2 * values },
} as const;

const VALUE_TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;
const ALIGNMENT = 32;

/**
 * Writes a GGUF file, version 3.
 *
 * @throws Error when a tensor's bytes are not as many as its shape says
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
export async function writeGguf(
  path: string,
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Promise<void> {
  const file = await open(path, 'w');
  try {
    const header = headerOf(metadata, tensors);
    let position = await write(file, header, 0);
    for (const tensor of tensors) {
      const bytes = tensor.bytes();
      if (bytes.length !== sizeOf(tensor)) {
        throw new Error(`${tensor.name}: expected ${sizeOf(tensor)} bytes, got ${bytes.length}`);
      }
      position = await write(file, bytes, position);
    }
    await file.truncate(position);
  } finally {
    await file.close();
  }
}

/** The header: values, the tensors' places, and padding up to the first of them. */
export function headerOf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): Buffer {
  const entries = Object.entries(metadata);
  let offset = 0;
  const places = tensors.map((tensor) => {
    const place = tensorInfo(tensor, offset);
    offset += aligned(sizeOf(tensor));
    return place;
  });
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors.length),
    u64(entries.length),
    ...entries.flatMap(([key, value]) => [string(key), encodedValue(value)]),
    ...places,
  ]);
  return Buffer.concat([head, Buffer.alloc(aligned(head.length) - head.length)]);
}

function sizeOf({ shape, type }: GgufTensor): number {
  return TYPES[type].sizeBytes(shape.reduce((product, size) => product * size, 1));
}

/** Name, axes from the innermost, type and place. */
function tensorInfo({ name, shape, type }: GgufTensor, offset: number): Buffer {
  const axes = [...shape].reverse().map(u64);
  return Buffer.concat([
    string(name),
    u32(shape.length),
    ...axes,
    u32(TYPES[type].id),
    u64(offset),
  ]);
}

function encodedValue(entry: GgufValue): Buffer {
  const { array, string: text, i32 } = VALUE_TYPES;
  switch (entry.type) {
    case 'u32':
      return Buffer.concat([u32(VALUE_TYPES.u32), u32(entry.value)]);
    case 'f32':
      return Buffer.concat([
        u32(VALUE_TYPES.f32),
        Buffer.from(Float32Array.of(entry.value).buffer),
      ]);
    case 'bool':
      return Buffer.concat([u32(VALUE_TYPES.bool), Buffer.of(entry.value ? 1 : 0)]);
    case 'string':
      return Buffer.concat([u32(text), string(entry.value)]);
    case 'strings': {
      const items = entry.value.map(string);
      return Buffer.concat([u32(array), u32(text), u64(items.length), ...items]);
    }
    case 'i32s': {
      const items = Buffer.from(Int32Array.from(entry.value).buffer);
      return Buffer.concat([u32(array), u32(i32), u64(entry.value.length), items]);
    }
  }
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function aligned(size: number): number {
  return Math.ceil(size / ALIGNMENT) * ALIGNMENT;
}

/** @returns where the next tensor begins */
async function write(file: FileHandle, bytes: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    const piece = Math.min(bytes.length - done, 2 ** 30);
    const { bytesWritten } = await file.write(bytes, done, piece, position + done);
    done += bytesWritten;
  }
  return position + aligned(bytes.length);
}
