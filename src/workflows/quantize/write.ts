import type { StoredTensor } from '../../checkpoint/checkpoint.js';
import { dtypeBits, toFloats } from '../../checkpoint/dtype.js';
import { type HashedTensor, identityOfTensors, sha256Of } from '../../checkpoint/identity.js';
import { CheckpointWriter } from '../../checkpoint/writer.js';
import { LlmkitError } from '../../errors.js';
import { transposeFloats } from '../../model/transpose.js';
import { layouts, type PlannedMatrix } from '../../quant/layouts.js';
import { type MatrixRows, quantizeMatrix, relativeError } from '../../quant/matrix.js';
import { methods } from '../../quant/methods/index.js';
import {
  bitsPerWeight,
  describeJob,
  type JobSummary,
  matrixOf,
  type QuantizedTensor,
  type QuantizeJob,
  type Transposable,
} from './job.js';

/** How the tensors are written. */
export interface WriteOptions {
  readonly maxShardBytes?: number | undefined;
  readonly onProgress?:
    | ((doneBytes: number, totalBytes: number, tensor: string) => void)
    | undefined;
}

/** What was read and written. */
export interface WrittenTensors {
  readonly sizes: Pick<JobSummary, 'tensors' | 'bytes_after' | 'bits_per_weight'>;
  /** Of the checkpoint that was read. */
  readonly identity: string;
}

type ReadTensor = StoredTensor & { readonly bytes: Uint8Array };

/**
 * Writes every tensor of a checkpoint, those of the plan quantized, one at a time.
 *
 * @returns their sizes and errors, and the identity of the weights that were read
 */
export async function writeTensors(
  job: QuantizeJob,
  folder: string,
  { maxShardBytes, onProgress }: WriteOptions,
): Promise<WrittenTensors> {
  const { checkpoint, specs } = job;
  const writer = new CheckpointWriter(folder, specs, maxShardBytes ? { maxShardBytes } : {});
  const described = describeJob(job);
  const quantized = new Map(described.tensors.map((tensor) => [tensor.name, tensor]));
  const hashed: HashedTensor[] = [];
  let [done, after] = [0, 0];
  try {
    for (const tensor of checkpoint.tensors.values()) {
      onProgress?.(done, described.bytes_before, tensor.name);
      const bytes = checkpoint.bytes(tensor.name);
      const planned = quantized.get(tensor.name);
      const report = planned && (await writeMatrix(job, { ...tensor, bytes }, writer));
      if (planned && report) quantized.set(tensor.name, { ...planned, ...report });
      else await writer.write(tensor.name, bytes);
      const { name, dtype, shape } = tensor;
      hashed.push({ name, dtype, shape, sha256: sha256Of(bytes) });
      after += report?.bytes_after ?? tensor.sizeBytes;
      done += tensor.sizeBytes;
    }
    onProgress?.(done, described.bytes_before, '');
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
  const tensors = [...quantized.values()];
  const sizes = { tensors, bytes_after: after, bits_per_weight: bitsPerWeight(tensors) };
  return { sizes, identity: identityOfTensors(hashed) };
}

async function writeMatrix(
  { plan }: QuantizeJob,
  tensor: ReadTensor,
  writer: CheckpointWriter,
): Promise<Pick<QuantizedTensor, 'bytes_after' | 'relative_error'>> {
  const planned = matrixOf(plan, tensor.name);
  const method = methods.rtn;
  if (planned === undefined || method === undefined) {
    throw new LlmkitError('unsupported', `${tensor.name}: is not planned to be quantized`);
  }
  const { scheme } = plan;
  const { groupSize, dtype } = planned;
  const { doubleQuant, asymmetric } = plan.checkpoint;
  const rows = rowsOf(tensor, planned);
  const data = quantizeMatrix(rows, { scheme, method, groupSize, dtype, doubleQuant, asymmetric });
  let bytesAfter = 0;
  for (const { name, bytes } of layouts[scheme.layout].encode(planned, data)) {
    await writer.write(name, bytes);
    bytesAfter += bytes.length;
  }
  return { bytes_after: bytesAfter, relative_error: relativeError(rows, data) };
}

function rowsOf(
  { name, dtype, bytes }: ReadTensor,
  { rows, cols, transposedOnDisk }: PlannedMatrix & Transposable,
): MatrixRows {
  if (transposedOnDisk) {
    const values = transposeFloats(toFloats(bytes, dtype), cols, rows);
    return { name, rows, cols, read: (start, end) => values.subarray(start * cols, end * cols) };
  }
  const rowBytes = (cols * dtypeBits(dtype)) / 8;
  const read = (start: number, end: number) =>
    toFloats(bytes.subarray(start * rowBytes, end * rowBytes), dtype);
  return { name, rows, cols, read };
}
