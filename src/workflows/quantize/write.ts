import type { StoredTensor } from '../../checkpoint/checkpoint.js';
import { COPIED_BYTES } from '../../checkpoint/flushed-file.js';
import { type HashedTensor, identityOfTensors } from '../../checkpoint/identity.js';
import { CheckpointWriter } from '../../checkpoint/writer.js';
import { transposeBytes } from '../../model/transpose.js';
import { layouts } from '../../quant/layouts.js';
import type { PlannedTensor } from '../../quant/plan.js';
import { type Quantizer, quantizerInUse } from '../../quant/quantizer.js';
import { ReusedMemory } from '../../tensor/reused-memory.js';
import type { WeightData } from '../../tensor/weight.js';
import { eachInFlight } from './in-flight.js';
import { inTurns } from './in-turns.js';
import {
  bitsPerWeight,
  describeJob,
  type JobSummary,
  outcomeOf,
  type QuantizedTensor,
  type QuantizeJob,
} from './job.js';

/** How the tensors are written. */
export interface WriteOptions {
  /** Of the checkpoint, made meanwhile. */
  readonly hashing: Promise<HashedTensor[]>;
  /** The device that rounds: `cpu` or `cuda`. */
  readonly computesOn: string;
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

/** What became of a tensor. */
type TensorReport = Pick<QuantizedTensor, 'bytes_after' | 'relative_error'>;

/**
 * Writes every tensor of a checkpoint, those of the plan quantized. Reading, hashing, rounding and
 * writing go on side by side, for tensors that together are no larger than the largest.
 *
 * @returns their sizes and errors, and the identity of the weights that were read
 */
export async function writeTensors(
  job: QuantizeJob,
  folder: string,
  { hashing, computesOn, maxShardBytes, onProgress }: WriteOptions,
): Promise<WrittenTensors> {
  const { checkpoint, specs } = job;
  const writer = new CheckpointWriter(folder, specs, maxShardBytes ? { maxShardBytes } : {});
  // All threads work on one matrix: more at a time would keep Node's pool from writing those that are made.
  const quantizer = computesOn === 'cuda' ? quantizerInUse() : inTurns(quantizerInUse());
  const memory = new ReusedMemory();
  const described = describeJob(job);
  const reports = new Map<string, TensorReport>();
  let done = 0;
  const write = async (tensor: StoredTensor) => {
    onProgress?.(done, described.bytes_before, tensor.name);
    const { name, sizeBytes } = tensor;
    const written = await writeTensor({ tensor, job, quantizer, memory, writer });
    checkpoint.release(name);
    for (const [part, report] of written) reports.set(part, report);
    done += sizeBytes;
  };
  try {
    const memoryOf = ({ name, sizeBytes }: StoredTensor) =>
      outcomeOf(job.plan, name).matrix ? sizeBytes : Math.min(sizeBytes, COPIED_BYTES);
    await eachInFlight([...checkpoint.tensors.values()], memoryOf, write);
    onProgress?.(done, described.bytes_before, '');
    await writer.finish();
    const tensors = described.tensors.map((tensor) => ({ ...tensor, ...reports.get(tensor.name) }));
    const after = [...reports.values()].reduce((sum, { bytes_after }) => sum + bytes_after, 0);
    const sizes = { tensors, bytes_after: after, bits_per_weight: bitsPerWeight(tensors) };
    return { sizes, identity: identityOfTensors(await hashing) };
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

interface TensorToWrite {
  readonly tensor: StoredTensor;
  readonly job: QuantizeJob;
  readonly quantizer: Quantizer;
  readonly memory: ReusedMemory;
  readonly writer: CheckpointWriter;
}

/** @returns what was written, by name */
async function writeTensor(request: TensorToWrite): Promise<readonly [string, TensorReport][]> {
  const { tensor, job, writer } = request;
  const { copy, matrix } = outcomeOf(job.plan, tensor.name);
  const written: [string, TensorReport][] = [];
  if (copy !== undefined) {
    await writer.copy(copy, job.checkpoint.range(tensor.name));
    written.push([copy, { bytes_after: tensor.sizeBytes }]);
  }
  if (matrix) written.push([`${matrix.module}.weight`, await writeMatrix(matrix, request)]);
  return written;
}

async function writeMatrix(
  planned: PlannedTensor,
  { tensor, job: { checkpoint, plan }, quantizer, memory, writer }: TensorToWrite,
): Promise<TensorReport> {
  const { scheme, groupSize, dtype } = planned;
  const { doubleQuant, asymmetric } = plan.checkpoint;
  const values = valuesOf(checkpoint.bytes(tensor.name), planned);
  const file = planned.transposedOnDisk ? undefined : checkpoint.range(tensor.name);
  const matrix = { name: tensor.name, values, file };
  const { method } = plan;
  const options = { scheme, method, groupSize, dtype, doubleQuant, asymmetric, memory };
  const { data, relativeError } = await quantizer(matrix, options);
  const parts = layouts[scheme.layout].encode(planned, data);
  const [relative_error] = await Promise.all([
    relativeError(),
    ...parts.map(({ name, bytes }) => writer.write(name, bytes)),
  ]);
  memory.giveBack(data);
  const bytesAfter = parts.reduce((sum, { bytes }) => sum + bytes.length, 0);
  return { bytes_after: bytesAfter, relative_error };
}

const FORMATS = { F32: 'f32', F16: 'f16', BF16: 'bf16' } as const;

function valuesOf(codes: Uint8Array, planned: PlannedTensor): WeightData {
  const { rows, cols, transposedOnDisk } = planned;
  const format = FORMATS[planned.dtype];
  return transposedOnDisk
    ? transposeBytes({ format, rows: cols, cols: rows, codes })
    : { format, rows, cols, codes };
}
