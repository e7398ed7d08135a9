import { constants } from 'node:buffer';
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { LlmkitError } from '../errors.js';
import { type Dtype, toFloats } from './dtype.js';
import { type FileStamp, stampOf } from './file-stamp.js';
import type { FileRange } from './hash-threads.js';
import { MappedBytes } from './mapped-bytes.js';
import { type Header, headerLength, parseHeader } from './safetensors-header.js';

/** Where a tensor lies and what it holds. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly sizeBytes: number;
  readonly file: string;
  /** Of its first byte, from the start of the file. */
  readonly offset: number;
}

/** Tensors by name, read when they are asked for. */
export interface TensorSource {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Raw bytes, a view valid until close(). */
  bytes(name: string): Uint8Array;
  /** Values as a new float32 array. */
  floats(name: string): Float32Array;
}

/** One open safetensors file. */
export interface SafetensorsFile extends TensorSource {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Of the file as it was opened. */
  readonly stamp: FileStamp;
  /** Where a tensor lies in the open file. */
  range(name: string): FileRange;
  /** Lets go of the memory behind a tensor's bytes, until they are asked for or read again. */
  release(name: string): void;
  close(): void;
}

/** How a file is read. */
export interface ReadOptions {
  /** Read tensor by tensor instead of mapping the file: a pass over all of it then leaves nothing resident. */
  readonly unmapped?: boolean;
}

/**
 * Opens one safetensors file. Its header is checked whole first; the data is memory-mapped by the addon, or without
 * it read tensor by tensor.
 *
 * @throws LlmkitError `checkpoint` naming the file when it is missing or not sound
 */
export async function readSafetensors(
  path: string,
  options: ReadOptions = {},
): Promise<SafetensorsFile> {
  const descriptor = open(path);
  try {
    const stats = fstatSync(descriptor, { bigint: true });
    const sizeBytes = Number(stats.size);
    const header = readHeader(descriptor, path, sizeBytes);
    const mapped = options.unmapped ? undefined : MappedBytes.open(path, sizeBytes);
    return new OpenFile(path, header, { descriptor, stamp: stampOf(path, stats), mapped });
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** Looks a tensor up, or says that it is missing from `where`. */
export function findTensor(
  tensors: ReadonlyMap<string, StoredTensor>,
  name: string,
  where: string,
): StoredTensor {
  const tensor = tensors.get(name);
  if (tensor) return tensor;
  throw new LlmkitError('checkpoint', `${where}: expected a tensor named ${name}, found none`);
}

function open(path: string): number {
  try {
    if (statSync(path).isFile()) return openSync(path, 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' || code === 'ENOTDIR' ? 'no such file' : code;
    throw new LlmkitError('checkpoint', `${path}: cannot be opened: ${reason}`);
  }
  throw new LlmkitError('checkpoint', `${path}: expected a file, got something else`);
}

function readHeader(descriptor: number, path: string, fileBytes: number): Header {
  const start = readExactly(descriptor, { path, offset: 0, length: Math.min(8, fileBytes) });
  const length = headerLength(start, path, fileBytes);
  const bytes = readExactly(descriptor, { path, offset: 8, length });
  return parseHeader(bytes, path, fileBytes);
}

/** Reads in pieces, as one read may not exceed 2 GiB. */
function readExactly(
  descriptor: number,
  { path, offset, length }: { path: string; offset: number; length: number },
): Uint8Array {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const piece = Math.min(length - done, 2 ** 30);
    const count = readSync(descriptor, bytes, done, piece, offset + done);
    if (count === 0) {
      const got = offset + done;
      throw new LlmkitError('checkpoint', `${path}: expected ${offset + length} bytes, got ${got}`);
    }
    done += count;
  }
  return bytes;
}

function tooLong(path: string, name: string, sizeBytes: number): LlmkitError {
  return new LlmkitError(
    'unsupported',
    `${path}: tensor ${name} must have at most ${constants.MAX_LENGTH} bytes under Node.js ${process.version}, ` +
      `got ${sizeBytes}; newer versions of Node.js hold more`,
  );
}

class OpenFile implements SafetensorsFile {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly stamp: FileStamp;
  #descriptor: number | undefined;
  #mapped: MappedBytes | undefined;

  constructor(
    path: string,
    header: Header,
    opened: { descriptor: number; stamp: FileStamp; mapped: MappedBytes | undefined },
  ) {
    this.path = path;
    this.metadata = header.metadata;
    this.tensors = header.tensors;
    this.stamp = opened.stamp;
    this.#mapped = opened.mapped;
    this.#descriptor = opened.descriptor;
  }

  bytes(name: string): Uint8Array {
    const { descriptor, offset, sizeBytes } = this.range(name);
    if (sizeBytes > constants.MAX_LENGTH) throw tooLong(this.path, name, sizeBytes);
    if (this.#mapped) return this.#mapped.view(offset, sizeBytes);
    return readExactly(descriptor, { path: this.path, offset, length: sizeBytes });
  }

  range(name: string): FileRange {
    const { offset, sizeBytes } = findTensor(this.tensors, name, this.path);
    if (this.#descriptor === undefined) {
      throw new LlmkitError('checkpoint', `${this.path}: tensor ${name} is read after close()`);
    }
    return { descriptor: this.#descriptor, offset, sizeBytes };
  }

  floats(name: string): Float32Array {
    const { dtype } = findTensor(this.tensors, name, this.path);
    const values = toFloats(this.bytes(name), dtype);
    this.release(name); // the values are a copy
    return values;
  }

  release(name: string): void {
    const { offset, sizeBytes } = this.range(name);
    this.#mapped?.release(offset, sizeBytes);
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
    this.#mapped = undefined;
  }
}
