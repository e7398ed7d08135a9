import { dtypeBits } from '../../checkpoint/dtype.js';
import { CheckpointWriter, type TensorSpec } from '../../checkpoint/writer.js';
import type { Decoder } from '../../model/decoder.js';
import type { StoredDtype } from '../../quant/schemes/scheme.js';
import { type AdapterFile, loadAdapter } from '../../tune/peft/index.js';
import type { MergeBases } from './bases.js';
import { type MergedTensor, mergedTensors } from './tensors.js';

/** Base + adapter, and the tensors that come of them. */
export interface MergeJob {
  readonly bases: MergeBases;
  readonly adapter: AdapterFile;
  /** The base with the adapter on it. */
  readonly model: Decoder;
  readonly tensors: readonly MergedTensor[];
  close(): void;
}

/**
 * Loads the base, checks that the adapter fits, and plans the merged tensors.
 *
 * @param dtype of the written weights; undefined: as in the base
 */
export async function openJob(
  bases: MergeBases,
  adapter: AdapterFile,
  dtype: StoredDtype | undefined,
): Promise<MergeJob> {
  const { checkpoint } = bases.onto;
  const model = await bases.onto.load();
  try {
    const tensors = mergedTensors({ checkpoint, model, adapter, dtype });
    const attached = await loadAdapter(model, adapter.folder);
    const close = () => {
      attached.dispose();
      model.dispose();
    };
    return { bases, adapter, model, tensors, close };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Bytes of tensors by their declared dtype and shape. */
export function sizeOf(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, { dtype, shape }) => {
    return sum + (dtypeBits(dtype) / 8) * shape.reduce((size, length) => size * length, 1);
  }, 0);
}

/** How the tensors are written. */
export interface WriteOptions {
  readonly maxShardBytes?: number | undefined;
  readonly onProgress?:
    | ((doneBytes: number, totalBytes: number, tensor: string) => void)
    | undefined;
}

/** Writes the merged tensors, one at a time. */
export async function writeTensors(
  { tensors }: MergeJob,
  target: string,
  { maxShardBytes, onProgress }: WriteOptions,
): Promise<void> {
  const writer = new CheckpointWriter(target, tensors, maxShardBytes ? { maxShardBytes } : {});
  const total = sizeOf(tensors);
  let done = 0;
  try {
    for (const tensor of tensors) {
      onProgress?.(done, total, tensor.name);
      await writer.write(tensor.name, tensor.bytes());
      done += sizeOf([tensor]);
    }
    onProgress?.(done, total, '');
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}
