import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LlmkitError } from '../errors.js';
import { type Dtype, dtypeBits } from './dtype.js';
import { FlushedFile } from './flushed-file.js';
import type { FileRange } from './hash-threads.js';
import { writeFileAtomic } from './output.js';
import { INDEX_FILE } from './safetensors-index.js';

export { toDtype } from './dtype.js';

/** What is declared of a tensor before it is written. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** A U8 vector whose declared length is an upper bound: it is kept in memory until finish(). */
  readonly atMost?: boolean;
}

/** A tensor with its bytes. */
export interface NamedTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** What CheckpointWriter.finish() wrote. */
export interface WrittenFiles {
  /** Names in the folder, the index included. */
  readonly files: string[];
  /** Of all files together. */
  readonly sizeBytes: number;
}

/** transformers' default. */
const MAX_SHARD_BYTES = 50e9;
const METADATA: Readonly<Record<string, string>> = { format: 'pt' };

interface Slot {
  readonly spec: TensorSpec;
  readonly shard: Shard;
  /** From the start of the data. */
  offset: number;
  sizeBytes: number;
  written: boolean;
}

interface Shard {
  readonly slots: Slot[];
  name: string;
  headerBytes: number;
  file?: Promise<FlushedFile>;
}

/**
 * Streams tensors into one or several safetensors files and their index. All tensors are declared first, in the
 * order that decides their shard, and then written in any order, also several at a time; within a file they lie by the alignment of their
 * dtype, so that each can be mapped as an array.
 */
export class CheckpointWriter {
  readonly #folder: string;
  readonly #metadata: Readonly<Record<string, string>>;
  readonly #shards: readonly Shard[];
  readonly #slots: ReadonlyMap<string, Slot>;
  readonly #late = new Map<Slot, Uint8Array>();

  constructor(
    folder: string,
    tensors: readonly TensorSpec[],
    options: { maxShardBytes?: number; metadata?: Readonly<Record<string, string>> } = {},
  ) {
    this.#folder = folder;
    this.#metadata = options.metadata ?? METADATA;
    this.#shards = planShards(tensors, options.maxShardBytes ?? MAX_SHARD_BYTES);
    this.#slots = new Map(
      this.#shards.flatMap(({ slots }) => slots).map((slot) => [slot.spec.name, slot]),
    );
    if (this.#slots.size !== tensors.length) {
      throw new LlmkitError('shape', 'CheckpointWriter: two tensors have the same name');
    }
    for (const shard of this.#shards) {
      shard.headerBytes = headerOf(shard.slots, this.#metadata).length;
    }
  }

  /** Writes the bytes of a declared tensor. */
  async write(name: string, bytes: Uint8Array): Promise<void> {
    const slot = this.#take(name, bytes.length);
    if (slot.spec.atMost) this.#late.set(slot, bytes.slice());
    else await this.#writeAt(slot, bytes);
  }

  /** Writes a declared tensor, whose length is known, as it lies in an open file. */
  async copy(name: string, range: FileRange): Promise<void> {
    const { shard, offset } = this.#take(name, range.sizeBytes);
    const file = await this.#fileOf(shard);
    await file.copy(range, shard.headerBytes + offset);
  }

  /** The place of a tensor that is written now, with so many bytes. */
  #take(name: string, length: number): Slot {
    const slot = this.#slots.get(name);
    if (!slot || slot.written) {
      const problem = slot ? 'is written twice' : 'was not declared';
      throw new LlmkitError('shape', `CheckpointWriter: ${name} ${problem}`);
    }
    const { spec, sizeBytes } = slot;
    if (spec.atMost ? length > sizeBytes : length !== sizeBytes) {
      const expected = `${spec.atMost ? 'at most ' : ''}${sizeBytes}`;
      throw wrongLength(`CheckpointWriter: ${name}`, expected, length);
    }
    slot.written = true;
    return slot;
  }

  /** Writes headers and index; flushing to the disk is writeFolder's. */
  async finish(): Promise<WrittenFiles> {
    const missing = [...this.#slots.values()].find(({ written }) => !written);
    if (missing) {
      throw new LlmkitError('shape', `CheckpointWriter: ${missing.spec.name} was not written`);
    }
    let sizeBytes = 0;
    for (const shard of this.#shards) sizeBytes += await this.#finishShard(shard);
    const files = this.#shards.map(({ name }) => name);
    if (files.length > 1) {
      const index = this.#index();
      await writeFile(join(this.#folder, INDEX_FILE), index);
      files.push(INDEX_FILE);
      sizeBytes += index.length;
    }
    return { files, sizeBytes };
  }

  /** Closes the files of a writer that is given up; they stay as they are. */
  async abort(): Promise<void> {
    for (const shard of this.#shards) {
      const file = await shard.file?.catch(() => undefined);
      await file?.close().catch(() => undefined); // what went wrong first is known already
      delete shard.file;
    }
  }

  async #writeAt(slot: Slot, bytes: Uint8Array): Promise<void> {
    const { shard } = slot;
    const file = await this.#fileOf(shard);
    await file.write(bytes, shard.headerBytes + slot.offset);
  }

  #fileOf(shard: Shard): Promise<FlushedFile> {
    const sizeBytes = shard.headerBytes + dataBytes(shard.slots);
    shard.file ??= FlushedFile.create(join(this.#folder, shard.name), sizeBytes);
    return shard.file;
  }

  async #finishShard(shard: Shard): Promise<number> {
    for (const slot of shard.slots) {
      const bytes = this.#late.get(slot);
      if (bytes) slot.sizeBytes = bytes.length;
    }
    placeSlots(shard.slots);
    for (const slot of shard.slots) {
      const bytes = this.#late.get(slot);
      if (bytes) await this.#writeAt(slot, bytes);
    }
    const file = await this.#fileOf(shard);
    await file.write(headerOf(shard.slots, this.#metadata, shard.headerBytes), 0);
    const sizeBytes = shard.headerBytes + dataBytes(shard.slots);
    await file.close(sizeBytes);
    delete shard.file;
    return sizeBytes;
  }

  #index(): string {
    const slots = [...this.#slots.values()];
    const entries = slots.map(({ spec, shard }) => [spec.name, shard.name] as const);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    const index = {
      metadata: { total_size: dataBytes(slots) },
      weight_map: Object.fromEntries(entries),
    };
    return `${JSON.stringify(index, undefined, 2)}\n`;
  }
}

/** A tensor's bytes, or what makes them when it is their turn. */
export interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array | (() => Uint8Array | Promise<Uint8Array>);
}

/** Writes one safetensors file, whole or not at all. Bytes that are made exist one tensor at a time. */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, StoredTensor>,
  metadata: Readonly<Record<string, string>> = METADATA,
): Promise<void> {
  const specs = [...tensors].map(([name, { dtype, shape }]) => ({ name, dtype, shape }));
  const [shard] = planShards(specs, Infinity);
  const slots = shard?.slots ?? [];
  async function* pieces() {
    yield headerOf(slots, metadata);
    for (const { spec, sizeBytes } of slots) {
      const { bytes: made } = tensors.get(spec.name) as StoredTensor;
      const bytes = made instanceof Uint8Array ? made : await made();
      if (bytes.length !== sizeBytes)
        throw wrongLength(`${path}: ${spec.name}`, sizeBytes, bytes.length);
      yield bytes;
    }
  }
  await writeFileAtomic(path, pieces());
}

function wrongLength(where: string, sizeBytes: number | string, length: number): LlmkitError {
  return new LlmkitError('shape', `${where}: expected ${sizeBytes} bytes, got ${length}`);
}

function sizeOf({ dtype, shape }: TensorSpec): number {
  return (shape.reduce((product, size) => product * size, 1) * dtypeBits(dtype)) / 8;
}

/** Fills shards in the declared order; a tensor larger than the limit gets its own. */
function planShards(tensors: readonly TensorSpec[], maxShardBytes: number): Shard[] {
  const shards: Shard[] = [];
  let room = 0;
  for (const spec of tensors) {
    const sizeBytes = sizeOf(spec);
    if (shards.length === 0 || sizeBytes > room) {
      shards.push({ slots: [], name: '', headerBytes: 0 });
      room = maxShardBytes;
    }
    const shard = shards.at(-1) as Shard;
    shard.slots.push({ spec, shard, offset: 0, sizeBytes, written: false });
    room -= sizeBytes;
  }
  if (shards.length === 0) shards.push({ slots: [], name: '', headerBytes: 0 });
  shards.forEach((shard, i) => {
    shard.name = shardName(i, shards.length);
    shard.slots.sort((a, b) => rank(b.spec) - rank(a.spec) || compare(a.spec.name, b.spec.name));
    placeSlots(shard.slots);
  });
  return shards;
}

function shardName(index: number, count: number): string {
  if (count === 1) return 'model.safetensors';
  const number = (value: number) => String(value).padStart(5, '0');
  return `model-${number(index + 1)}-of-${number(count)}.safetensors`;
}

/** Wide dtypes first, what may still shrink last. */
function rank({ dtype, atMost }: TensorSpec): number {
  return atMost ? 0 : dtypeBits(dtype);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function placeSlots(slots: readonly Slot[]): void {
  let offset = 0;
  for (const slot of slots) {
    slot.offset = offset;
    offset += slot.sizeBytes;
  }
}

function dataBytes(slots: readonly Slot[]): number {
  return slots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/** Length, JSON, and spaces up to a multiple of 8 bytes, or to the length that was set aside for it. */
function headerOf(
  slots: readonly Slot[],
  metadata: Readonly<Record<string, string>>,
  length?: number,
): Buffer {
  const entries: [string, unknown][] = slots.map(({ spec, offset, sizeBytes }) => {
    const shape = spec.atMost ? [sizeBytes] : spec.shape;
    return [spec.name, { dtype: spec.dtype, shape, data_offsets: [offset, offset + sizeBytes] }];
  });
  const json = JSON.stringify(Object.fromEntries([['__metadata__', metadata], ...entries]));
  const jsonBytes = Buffer.byteLength(json);
  const header = Buffer.alloc(length ?? 8 + Math.ceil(jsonBytes / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  header.write(json, 8);
  return header;
}
