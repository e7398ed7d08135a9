import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import type { Checkpoint } from '../checkpoint/checkpoint.js';
import { isUnchanged } from '../checkpoint/file-stamp.js';
import { checkFreeDisk, removeAbandoned } from '../checkpoint/output.js';
import {
  PackedFileWriter,
  type PackedOrigin,
  type PackedPart,
  readPackedFile,
} from '../checkpoint/packed-file.js';
import { type PackedWeights, packedWeights } from '../tensor/backends/packed.js';
import { type Compute, type ComputeRequest, computeOf } from '../tensor/compute.js';
import type { Weight, WeightForm } from '../tensor/weight.js';
import type { ParameterSpec } from './layout.js';

/** The packed weights of a checkpoint, mapped from the file beside it or on their way into one. */
export interface PackedCache {
  /** The packed form that the file has of a parameter; undefined while the file is being made. */
  find(
    name: string,
  ): { readonly form: WeightForm; readonly stored: PackedPart['form'] } | undefined;
  /** Puts a weight that has been packed into the file that is being made. */
  keep(name: string, weight: Weight): Promise<void>;
  /** All weights are there: the file takes its place. */
  finish(): Promise<void>;
  /** Loading has failed: no file. */
  abort(): Promise<void>;
}

/** What is packed, and who is told when that cannot be kept. */
export interface PackedCacheRequest {
  /** The parameters that products may want packed. */
  readonly wanted: readonly ParameterSpec[];
  readonly compute: ComputeRequest;
  readonly onWarning: (text: string) => void;
}

/**
 * Opens the cache of a checkpoint: its file where it is sound and of this very checkpoint, else a new
 * one to be made. What stands in the way is a warning; the model is then loaded without.
 */
export async function openPackedCache(
  checkpoint: Checkpoint,
  request: PackedCacheRequest,
): Promise<PackedCache | undefined> {
  const { compute, wanted } = request;
  const warn = (text: string) => request.onWarning(`--cache-packed: ${text}`);
  const backend = packedWeights();
  // Named by what integer weights compute in: the others follow from that.
  const arithmetic = computeOf(compute.choice, compute.use, 'int8');
  if (backend === undefined || arithmetic === 'f32' || wanted.length === 0) {
    const why = backend === undefined ? 'by this backend' : 'for products in float32';
    warn(`nothing is packed ${why}, nothing is kept`);
    return undefined;
  }
  const path = packedPath(checkpoint.folder, arithmetic);
  const origin = { layout: backend.layout, source: sourceOf(checkpoint) };
  try {
    const parts = readPackedFile(path, origin);
    if (parts) return mappedCache(parts, wanted, backend);
  } catch (error) {
    warn(`${path} is not used: ${(error as Error).message}; it is made anew`);
  }
  return beginCache(path, { checkpoint, origin, backend, warn });
}

/** Where the packed weights of a checkpoint lie. */
export function packedPath(folder: string, arithmetic: Compute): string {
  return join(folder, `packed-${arithmetic}.llmkit`);
}

/** Tells this state of a checkpoint from any other: its files, and what config.json makes of them. */
function sourceOf({ config, stamps, tensors }: Checkpoint): string {
  const files = stamps.map(({ path, text }) => [basename(path), text]);
  const places = [...tensors.values()].map(({ name, dtype, shape, file, offset }) => {
    return [name, dtype, shape, basename(file), offset];
  });
  const all = JSON.stringify([config, files, places]);
  return createHash('sha256').update(all).digest('hex');
}

/** @throws Error when a parameter is missing, has another shape, or bytes that its form does not need */
function mappedCache(
  parts: ReadonlyMap<string, PackedPart>,
  wanted: readonly ParameterSpec[],
  backend: PackedWeights,
): PackedCache {
  const found = new Map<string, NonNullable<ReturnType<PackedCache['find']>>>();
  try {
    for (const { name, shape } of wanted) {
      const part = parts.get(name);
      const { rows, cols } = part?.form ?? {};
      if (part === undefined || rows !== shape[0] || cols !== shape[1]) {
        throw new Error(`${name} must be [${shape.join(', ')}], got ${rows ?? 'none'}, ${cols}`);
      }
      const form = backend.use(part.form, part.bytes);
      found.set(name, { form, stored: part.form });
    }
  } catch (error) {
    for (const { form } of found.values()) form.release();
    throw error;
  }
  const nothing = async () => undefined;
  return { find: (name) => found.get(name), keep: nothing, finish: nothing, abort: nothing };
}

interface NewCache {
  readonly checkpoint: Checkpoint;
  readonly origin: PackedOrigin;
  readonly backend: PackedWeights;
  readonly warn: (text: string) => void;
}

/** Collects weights in a new file; after the first failure no more of them. */
async function beginCache(
  path: string,
  { checkpoint, origin, backend, warn }: NewCache,
): Promise<PackedCache> {
  let writer: PackedFileWriter | undefined;
  const abort = async () => {
    await writer?.abort().catch(() => undefined);
    writer = undefined;
  };
  const attempt = async (work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      warn(`${path} cannot be written: ${(error as Error).message}`);
      await abort();
    }
  };
  await attempt(async () => {
    await removeAbandoned(path);
    await checkFreeDisk(path, storedBytes(checkpoint));
    writer = await PackedFileWriter.create(path);
  });
  return {
    find: () => undefined,
    abort,
    keep: (name, weight) => attempt(async () => writer?.add(name, backend.partsOf(weight))),
    finish: () =>
      attempt(async () => {
        if (writer === undefined) return;
        expectUnchanged(checkpoint, writer.begunNs);
        await writer.finish(origin);
        writer = undefined;
      }),
  };
}

/** Packed weights need no more than the stored ones, but for padding. */
function storedBytes({ tensors }: Checkpoint): number {
  return [...tensors.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

/**
 * A file whose last change is as new as the begun cache could change again without its times telling: clocks tick in
 * steps.
 */
function expectUnchanged({ stamps }: Checkpoint, begunNs: bigint): void {
  for (const stamp of stamps) {
    if (isUnchanged(stamp) && stamp.changedNs < begunNs) continue;
    throw new Error(`${stamp.path} has just been changed`);
  }
}
