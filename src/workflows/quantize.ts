import { readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { type Checkpoint, openCheckpoint, type StoredTensor } from '../checkpoint/checkpoint.js';
import { dtypeBits, toFloats } from '../checkpoint/dtype.js';
import { type DownloadProgress, resolveModel } from '../checkpoint/hub.js';
import { identityOf } from '../checkpoint/identity.js';
import { checkFreeDisk, checkTarget, writeFolder } from '../checkpoint/output.js';
import { CheckpointWriter } from '../checkpoint/writer.js';
import { readText } from '../data/text.js';
import { LlmkitError } from '../errors.js';
import { transposeFloats } from '../model/transpose.js';
import { layouts, type PlannedMatrix } from '../quant/layouts.js';
import { type MatrixRows, quantizeMatrix, relativeError } from '../quant/matrix.js';
import { methods } from '../quant/methods/index.js';
import { copyOtherFiles } from './copy-files.js';
import { sha256OfFile, writeManifest } from './manifest.js';
import {
  bitsPerWeight,
  describeJob,
  estimateJob,
  type JobSummary,
  matrixOf,
  planJob,
  type QuantizedTensor,
  type QuantizeJob,
  type Transposable,
} from './quantize-job.js';
import { textPerplexity } from './text-perplexity.js';
import { tokenizerHashes } from './tokenizer-hashes.js';

/** What to quantize, and how. */
export interface QuantizeOptions {
  /** A folder or a hub id. */
  readonly model: string;
  /** Left out: `./<name>-<scheme>`. */
  readonly output?: string | undefined;
  /** A name of `schemes`. */
  readonly scheme: string;
  readonly groupSize?: number | undefined;
  readonly doubleQuant: boolean;
  readonly asymmetric: boolean;
  readonly skip: readonly string[];
  readonly maxShardBytes?: number | undefined;
  readonly force: boolean;
  /** Plans from headers alone and writes nothing. */
  readonly dryRun: boolean;
  /** A text file whose perplexity is measured before and after. */
  readonly calib?: string | undefined;
  readonly backend?: string | undefined;
  readonly threads?: number | undefined;
  readonly onDownload?: (progress: DownloadProgress) => void;
  readonly onProgress?: (doneBytes: number, totalBytes: number, tensor: string) => void;
  readonly onNote?: (text: string) => void;
  readonly onWarning?: (text: string) => void;
}

/** What `quantize` did or, in a dry run, would do. */
export interface QuantizeResult extends JobSummary {
  readonly output: string;
  readonly perplexity?: { readonly before: number; readonly after: number };
  readonly seconds?: number;
  readonly dry_run?: ReturnType<typeof estimateJob>;
}

/** Writes a copy of a checkpoint whose linear layers are quantized, tensor by tensor. */
export async function quantizeModel(options: QuantizeOptions): Promise<QuantizeResult> {
  const started = performance.now();
  const { onDownload } = options;
  const folder = await resolveModel(options.model, onDownload ? { onProgress: onDownload } : {});
  const output = options.output ?? defaultOutput(options.model, options.scheme);
  if (!options.dryRun) await checkOutput(output, folder, options);
  const checkpoint = await openCheckpoint(folder, { unmapped: true });
  try {
    const job = planJob(checkpoint, options);
    for (const note of job.plan.notes) options.onNote?.(note);
    if (options.dryRun) return { output, ...describeJob(job), dry_run: estimateJob(job) };
    await checkFreeDisk(output, job.bytesAfter);
    const written = await write(job, { ...options, output });
    const seconds = (performance.now() - started) / 1000;
    return { output, ...describeJob(job), ...written, seconds };
  } finally {
    checkpoint.close();
  }
}

/** `org/name@main` or a folder → `./name-nf4`. */
function defaultOutput(model: string, scheme: string): string {
  const name = basename(resolve(model)).replace(/@[^@]*$/, '');
  return `./${name}-${scheme}`;
}

async function checkOutput(
  output: string,
  folder: string,
  { force }: QuantizeOptions,
): Promise<void> {
  if (resolve(output) === resolve(folder)) {
    throw new LlmkitError('usage', `${output}: is the model's own folder; choose another output`);
  }
  await checkTarget(output, { force });
}

type Written = Pick<QuantizeResult, 'tensors' | 'bytes_after' | 'bits_per_weight' | 'perplexity'>;

async function write(
  job: QuantizeJob,
  options: QuantizeOptions & { readonly output: string },
): Promise<Written> {
  const { output, force, calib } = options;
  const text = calib === undefined ? undefined : await readText(calib);
  const measure = (model: string) =>
    text === undefined ? undefined : textPerplexity({ ...options, model }, text);
  const before = await measure(job.checkpoint.folder);
  let written: Written | undefined;
  await writeFolder(output, { force }, async (folder) => {
    await copyOtherFiles(job.checkpoint.folder, folder, ['config.json']);
    await writeConfig(job, folder);
    const sizes = await writeTensors(job, folder, options);
    const after = await measure(folder);
    const perplexity =
      before === undefined || after === undefined ? {} : { perplexity: { before, after } };
    written = { ...sizes, ...perplexity };
    await writeManifest(folder, await manifestOf(job, options));
  });
  return written as Written;
}

async function writeConfig({ checkpoint, plan }: QuantizeJob, folder: string): Promise<void> {
  const original = JSON.parse(await readFile(join(checkpoint.folder, 'config.json'), 'utf8'));
  const { scheme } = plan;
  const quantization = layouts[scheme.layout].config(scheme, plan.checkpoint);
  const config = { ...original, quantization_config: quantization };
  await writeFile(join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
}

async function writeTensors(
  job: QuantizeJob,
  folder: string,
  { maxShardBytes, onProgress }: QuantizeOptions,
): Promise<Omit<Written, 'perplexity'>> {
  const { checkpoint, specs } = job;
  const writer = new CheckpointWriter(folder, specs, maxShardBytes ? { maxShardBytes } : {});
  const described = describeJob(job);
  const quantized = new Map(described.tensors.map((tensor) => [tensor.name, tensor]));
  let [done, after] = [0, 0];
  try {
    for (const tensor of checkpoint.tensors.values()) {
      onProgress?.(done, described.bytes_before, tensor.name);
      const planned = quantized.get(tensor.name);
      const report = planned && (await writeMatrix(job, tensor, writer));
      if (planned && report) quantized.set(tensor.name, { ...planned, ...report });
      else await writer.write(tensor.name, checkpoint.bytes(tensor.name));
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
  return { tensors, bytes_after: after, bits_per_weight: bitsPerWeight(tensors) };
}

async function writeMatrix(
  { checkpoint, plan }: QuantizeJob,
  tensor: StoredTensor,
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
  const rows = rowsOf(checkpoint, tensor, planned);
  const data = quantizeMatrix(rows, { scheme, method, groupSize, dtype, doubleQuant, asymmetric });
  let bytesAfter = 0;
  for (const { name, bytes } of layouts[scheme.layout].encode(planned, data)) {
    await writer.write(name, bytes);
    bytesAfter += bytes.length;
  }
  return { bytes_after: bytesAfter, relative_error: relativeError(rows, data) };
}

function rowsOf(
  checkpoint: Checkpoint,
  { name, dtype }: StoredTensor,
  { rows, cols, transposedOnDisk }: PlannedMatrix & Transposable,
): MatrixRows {
  const bytes = checkpoint.bytes(name);
  if (transposedOnDisk) {
    const values = transposeFloats(toFloats(bytes, dtype), cols, rows);
    return { name, rows, cols, read: (start, end) => values.subarray(start * cols, end * cols) };
  }
  const rowBytes = (cols * dtypeBits(dtype)) / 8;
  const read = (start: number, end: number) =>
    toFloats(bytes.subarray(start * rowBytes, end * rowBytes), dtype);
  return { name, rows, cols, read };
}

async function manifestOf(
  { checkpoint, plan }: QuantizeJob,
  options: QuantizeOptions & { readonly output: string },
): Promise<Parameters<typeof writeManifest>[1]> {
  const { model, scheme, groupSize, doubleQuant, asymmetric, skip, calib } = options;
  const inputs = [join(checkpoint.folder, 'config.json'), ...(calib === undefined ? [] : [calib])];
  const hashes = await Promise.all(
    inputs.map(async (path) => [basename(path), await sha256OfFile(path)] as const),
  );
  return {
    command: 'quantize',
    config: {
      model,
      scheme,
      group_size: groupSize ?? plan.checkpoint.groupSize ?? null,
      double_quant: doubleQuant,
      asymmetric,
      skip,
    },
    inputs: Object.fromEntries(hashes),
    base_model: { name: model, identity: await identityOf(checkpoint) },
    ...(await tokenizerHashes(checkpoint.folder)),
  };
}
