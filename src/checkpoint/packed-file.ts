import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as z from 'zod';
import { LlmkitError } from '../errors.js';
import type { PackedForm } from '../tensor/backends/packed.js';
import { FlushedFile } from './flushed-file.js';
import { MappedBytes } from './mapped-bytes.js';
import { besides, removeOnExit, sync } from './output.js';

/** Weights begin at whole pages, so that each can be let go of by itself. */
const PAGE_BYTES = 4096;
/** The end of a file: sha256 of its header, the header's length in 8 bytes, and these 8. */
const MAGIC = 'llmkpack';
const HASH_BYTES = 32;
const TRAILER_BYTES = HASH_BYTES + 16;
const MAX_HEADER_BYTES = 100_000_000;

/** What a file's weights were packed from, and how. */
export interface PackedOrigin {
  /** Of the packed layout. */
  readonly layout: number;
  /** Tells the checkpoint from any other, and from itself after a change. */
  readonly source: string;
}

/** A packed weight of a mapped file. */
export interface PackedPart {
  readonly form: PackedForm;
  /** A view of the file. */
  readonly bytes: Uint8Array;
}

const count = z.int().min(0);
const entrySchema = z.strictObject({
  name: z.string(),
  offset: count,
  size_bytes: count,
  form: z.strictObject({
    format: z.enum(['bf16', 'f16', 'int8', 'int4', 'nf4', 'fp4']),
    compute: z.enum(['bf16', 'int8', 'bf16-dequantized']),
    rows: count,
    cols: count,
    group: count,
    scales: z.enum(['none', 'f32', 'bf16', 'f16']),
    zeros: z.boolean(),
  }),
});
const headerSchema = z.strictObject({
  layout: z.int(),
  source: z.string(),
  weights: z.array(entrySchema),
});
type Entry = z.output<typeof entrySchema>;

/**
 * Maps a file of packed weights. Everything it says is checked against what is there; whether a form and its bytes
 * belong together is the backend's to check.
 *
 * @returns undefined where there is no file
 * @throws LlmkitError `checkpoint` saying why the file cannot be used
 */
export function readPackedFile(
  path: string,
  origin: PackedOrigin,
): ReadonlyMap<string, PackedPart> | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  if (!stats.isFile()) refuse('it is not a file');
  const mapped = MappedBytes.open(path, stats.size);
  if (mapped === undefined) refuse('files cannot be mapped without the native addon');
  const header = readHeader(mapped);
  if (header.layout !== origin.layout) {
    refuse(`it has layout ${header.layout}, this llmkit packs in layout ${origin.layout}`);
  }
  if (header.source !== origin.source) refuse('the checkpoint is another since it was packed');
  const parts = header.weights.map((entry) => [entry.name, partOf(mapped, entry)] as const);
  return new Map(parts);
}

function readHeader(mapped: MappedBytes): z.output<typeof headerSchema> {
  const end = mapped.sizeBytes - TRAILER_BYTES;
  if (end < 0) refuse('it is cut off');
  const trailer = Buffer.from(mapped.view(end, TRAILER_BYTES));
  if (trailer.toString('latin1', HASH_BYTES + 8) !== MAGIC) {
    refuse('it is cut off, or no file of this kind');
  }
  const length = trailer.readBigUInt64LE(HASH_BYTES);
  if (length > BigInt(Math.min(end, MAX_HEADER_BYTES))) {
    refuse(`its header is said to have ${length} bytes`);
  }
  const bytes = mapped.view(end - Number(length), Number(length));
  if (!hashOf(bytes).equals(trailer.subarray(0, HASH_BYTES))) refuse('its header is damaged');
  const parsed = headerSchema.safeParse(parseJson(bytes));
  if (parsed.success) return parsed.data;
  refuse(`its header is broken at ${parsed.error.issues[0]?.path.join('.') || 'the start'}`);
}

function hashOf(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    refuse('its header is no JSON');
  }
}

function partOf(mapped: MappedBytes, { name, offset, size_bytes, form }: Entry): PackedPart {
  if (offset % PAGE_BYTES !== 0 || offset + size_bytes > mapped.sizeBytes) {
    refuse(`${name} is said to be ${size_bytes} bytes at ${offset} of ${mapped.sizeBytes}`);
  }
  return { form, bytes: mapped.view(offset, size_bytes) };
}

function refuse(problem: string): never {
  throw new LlmkitError('checkpoint', problem);
}

/** Collects packed weights in a file that is there complete, or not at all. */
export class PackedFileWriter {
  /** The file system's own time before any weight was read. */
  readonly begunNs: bigint;
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: FlushedFile;
  readonly #stopGuarding: () => void;
  readonly #entries: Entry[] = [];
  #end = 0;

  private constructor(path: string, opened: { path: string; file: FlushedFile; begunNs: bigint }) {
    this.#path = path;
    this.#temporary = opened.path;
    this.#file = opened.file;
    this.begunNs = opened.begunNs;
    this.#stopGuarding = removeOnExit(opened.path);
  }

  /** Begins a file under a temporary name; it is removed should the process end before it is finished. */
  static async create(path: string): Promise<PackedFileWriter> {
    const temporary = besides(path, 'tmp');
    const file = await FlushedFile.create(temporary);
    const { mtimeNs } = await stat(temporary, { bigint: true });
    return new PackedFileWriter(path, { path: temporary, file, begunNs: mtimeNs });
  }

  async add(name: string, { form, bytes }: PackedPart): Promise<void> {
    const offset = Math.ceil(this.#end / PAGE_BYTES) * PAGE_BYTES;
    const { format, compute } = form as Entry['form'];
    const entry = { name, offset, size_bytes: bytes.length, form: { ...form, format, compute } };
    this.#entries.push(entry);
    this.#end = offset + bytes.length;
    await this.#file.write(bytes, offset);
  }

  /** Writes the header, waits for the disk and puts the file in its place. */
  async finish(origin: PackedOrigin): Promise<void> {
    const header = Buffer.from(JSON.stringify({ ...origin, weights: this.#entries }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    const end = [header, hashOf(header), length, Buffer.from(MAGIC, 'latin1')];
    await this.#file.write(Buffer.concat(end), this.#end);
    await this.#file.close();
    await sync(this.#temporary);
    await rename(this.#temporary, this.#path);
    this.#stopGuarding();
    await sync(dirname(this.#path));
  }

  /** Leaves nothing behind. */
  async abort(): Promise<void> {
    await this.#file.close().catch(() => undefined); // what went wrong first is known already
    await rm(this.#temporary, { force: true });
    this.#stopGuarding();
  }
}
