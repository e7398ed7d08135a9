import { LlmkitError } from '../errors.js';
import { type Dtype, dtypeBits, isDtype } from './dtype.js';
import type { StoredTensor } from './safetensors.js';
import { parseStrictJson, type StrictJson } from './strict-json.js';

/** A header may not be longer (safetensors' own limit). */
const MAX_HEADER_BYTES = 100_000_000;
const LENGTH_BYTES = 8;

/** What a header says. */
export interface Header {
  readonly tensors: Map<string, StoredTensor>;
  readonly metadata: Record<string, string>;
}

/**
 * Length of the header, from the first bytes of a file.
 *
 * @throws LlmkitError `checkpoint` when the file cannot hold it
 */
export function headerLength(start: Uint8Array, file: string, fileBytes: number): number {
  if (fileBytes < LENGTH_BYTES) {
    refuse(file, `expected at least ${LENGTH_BYTES} bytes, got ${fileBytes}`);
  }
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    refuse(file, `expected a header of at most ${MAX_HEADER_BYTES} bytes, got ${length}`);
  }
  if (LENGTH_BYTES + Number(length) > fileBytes) {
    const expected = LENGTH_BYTES + Number(length);
    refuse(file, `expected at least ${expected} bytes for its header, got ${fileBytes}`);
  }
  return Number(length);
}

/**
 * Reads a header and checks what the safetensors library checks: UTF-8, JSON without duplicate keys, known dtypes,
 * sizes that fit the shapes, and tensors that cover the file from the header to its end without gap or overlap.
 *
 * @throws LlmkitError `checkpoint` naming the file
 */
export function parseHeader(bytes: Uint8Array, file: string, fileBytes: number): Header {
  const root = parseRoot(bytes, file);
  const metadata = parseMetadata(root.get('__metadata__'), file);
  root.delete('__metadata__');
  const dataStart = LENGTH_BYTES + bytes.length;
  const tensors = [...root].map(([name, entry]) => parseTensor(name, entry, file));
  tensors.sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes);
  let end = 0;
  for (const { name, offset, sizeBytes } of tensors) {
    if (offset !== end) refuse(file, `tensor ${name}: expected offset ${end}, got ${offset}`);
    end += sizeBytes;
  }
  if (dataStart + end !== fileBytes) {
    refuse(file, `expected ${dataStart + end} bytes, got ${fileBytes}; copy or download it again`);
  }
  const placed = tensors.map((tensor) => ({ ...tensor, offset: dataStart + tensor.offset }));
  return { metadata, tensors: new Map(placed.map((tensor) => [tensor.name, tensor])) };
}

function refuse(file: string, problem: string): never {
  throw new LlmkitError('checkpoint', `${file}: not a sound safetensors file: ${problem}`);
}

function parseRoot(bytes: Uint8Array, file: string): Map<string, StrictJson> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    refuse(file, 'expected a header in UTF-8');
  }
  try {
    const root = parseStrictJson(text);
    if (root instanceof Map && text.startsWith('{')) return root;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    refuse(file, `header: ${error.message}`);
  }
  refuse(file, 'expected a header that is a JSON object');
}

function parseMetadata(value: StrictJson | undefined, file: string): Record<string, string> {
  if (value === undefined || value === null) return {};
  if (!(value instanceof Map)) refuse(file, '__metadata__: expected an object');
  for (const [key, text] of value) {
    if (typeof text !== 'string') refuse(file, `__metadata__: expected ${key} to be a string`);
  }
  return Object.fromEntries(value) as Record<string, string>;
}

function parseTensor(name: string, entry: StrictJson, file: string): StoredTensor {
  const fail = (problem: string): never => refuse(file, `tensor ${name}: ${problem}`);
  if (!(entry instanceof Map)) return fail('expected an object');
  const dtype = entry.get('dtype');
  if (typeof dtype !== 'string' || !isDtype(dtype)) {
    return fail(`expected a known dtype, got ${typeof dtype === 'string' ? dtype : typeof dtype}`);
  }
  const shape = integers(entry.get('shape')) ?? fail('expected shape to be a list of integers');
  const [start, end, ...rest] = integers(entry.get('data_offsets')) ?? [];
  if (start === undefined || end === undefined || rest.length > 0) {
    return fail('expected data_offsets to be two integers');
  }
  const sizeBytes = sizeOf(dtype, shape);
  if (end < start || sizeBytes !== end - start) {
    fail(`expected ${sizeBytes} bytes for ${dtype} [${shape}], got offsets ${start} to ${end}`);
  }
  return { name, dtype, shape, sizeBytes, file, offset: start };
}

/** The numbers of a list of integers in 0 … 2^53 - 1. */
function integers(value: StrictJson | undefined): number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const numbers = value.map((item) => (typeof item === 'bigint' && item >= 0n ? Number(item) : -1));
  return numbers.every((item) => Number.isSafeInteger(item) && item >= 0) ? numbers : undefined;
}

/** Bytes of a tensor; where they overflow, or are no whole number (sub-byte dtypes), no offsets are equal to them. */
function sizeOf(dtype: Dtype, shape: readonly number[]): number {
  const count = shape.reduce((product, size) => {
    const next = product * size;
    return next > Number.MAX_SAFE_INTEGER ? NaN : next;
  }, 1);
  return (count * dtypeBits(dtype)) / 8;
}
