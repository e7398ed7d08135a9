import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { openCheckpoint } from '../checkpoint/checkpoint.js';
import { dtypeBits } from '../checkpoint/dtype.js';
import type { DownloadProgress } from '../checkpoint/hub.js';
import { checkFreeDisk, checkTarget, writeFolder } from '../checkpoint/output.js';
import { CheckpointWriter, type TensorSpec } from '../checkpoint/writer.js';
import { LlmkitError } from '../errors.js';
import type { Decoder } from '../model/decoder.js';
import { HEAD, storedNames } from '../model/layout.js';
import { loadModel } from '../model/load.js';
import type { StoredDtype } from '../quant/schemes/scheme.js';
import { loadTokenizer } from '../tokenizer/tokenizer.js';
import { type AdapterFile, loadAdapter, readAdapter } from '../tune/peft/index.js';
import { copyOtherFiles } from './copy-files.js';
import { readManifest, sha256OfFile, writeManifest } from './manifest.js';
import { type MergeBase, type MergeBases, openBases } from './merge/bases.js';
import { type MergedTensor, mergedTensors } from './merge/tensors.js';
import {
  makeProbe,
  type Probe,
  probeDivergence,
  probeScores,
  roundingEffect,
  type Verification,
  verifyMerge,
} from './merge/verify.js';
import { openBackend } from './open-model.js';
import { tokenizerHashes } from './tokenizer-hashes.js';

/** dtypes of written weights, by the name users type. */
export const MERGE_DTYPES = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;
const TORCH_NAMES = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' } as const;

/** What to merge, and how. */
export interface MergeOptions {
  /** A folder or a hub id. */
  readonly model: string;
  /** A PEFT folder. */
  readonly adapter: string;
  /** Left out: `./<name>-merged`. */
  readonly output?: string | undefined;
  /** Left out: each tensor keeps its own. */
  readonly dtype?: keyof typeof MERGE_DTYPES | undefined;
  /** The weights it was trained on, or the 16-bit ones that those were quantized from. */
  readonly onto: 'trained' | 'original';
  /** The 16-bit weights, where `model` is the quantized ones. */
  readonly original?: string | undefined;
  readonly maxShardBytes?: number | undefined;
  readonly force: boolean;
  /** Checks that the adapter fits and writes nothing. */
  readonly dryRun: boolean;
  readonly backend?: string | undefined;
  readonly threads?: number | undefined;
  readonly onDownload?: (progress: DownloadProgress) => void;
  readonly onProgress?: (doneBytes: number, totalBytes: number, tensor: string) => void;
  readonly onNote?: (text: string) => void;
  readonly onWarning?: (text: string) => void;
}

/** What `merge` did; the keys are those of `--json`. */
export interface MergeResult {
  readonly output: string;
  readonly onto: 'trained' | 'original';
  /** Layers that the adapter changes. */
  readonly merged_modules: number;
  /** Other parameters that it replaces. */
  readonly replaced_tensors: number;
  readonly bytes_before: number;
  readonly bytes_after: number;
  /** Absent in a dry run. */
  readonly verification?: Verification;
  /** With `--onto original`: KL per token from the model that was trained to the merged one. */
  readonly kl_trained_to_merged?: number;
  readonly backend?: string;
  readonly seconds?: number;
  readonly dry_run?: { readonly memory_peak_bytes: number };
}

/** Writes base + adapter as one checkpoint, verified before it appears. */
export async function mergeAdapter(options: MergeOptions): Promise<MergeResult> {
  const started = performance.now();
  const adapter = await readAdapter(options.adapter);
  const output =
    options.output ?? `./${basename(resolve(options.model)).replace(/@[^@]*$/, '')}-merged`;
  if (!options.dryRun) await checkOutput(output, options);
  const { model, onto, original, onNote, onDownload } = options;
  const download = onDownload ? { onProgress: onDownload } : {};
  const bases = await openBases({ model, onto, original, onNote, ...download }, adapter);
  try {
    const backend = await openBackend(options);
    const job = await openJob(bases, adapter, options);
    try {
      if (options.dryRun) return { output, ...describe(job, options), dry_run: memoryOf(job) };
      await checkFreeDisk(output, sizeOf(job.tensors));
      const checked = await write(job, output, options);
      const seconds = (performance.now() - started) / 1000;
      const { description } = backend;
      return { output, ...describe(job, options), ...checked, backend: description, seconds };
    } finally {
      job.close();
    }
  } finally {
    bases.close();
  }
}

async function checkOutput(output: string, { model, adapter, force }: MergeOptions): Promise<void> {
  if ([model, adapter].some((folder) => resolve(folder) === resolve(output))) {
    throw new LlmkitError('usage', `${output}: is an input of the merge; choose another output`);
  }
  await checkTarget(output, { force });
}

/** Base + adapter, and the tensors that come of them. */
interface MergeJob {
  readonly bases: MergeBases;
  readonly adapter: AdapterFile;
  readonly model: Decoder;
  readonly tensors: readonly MergedTensor[];
  close(): void;
}

async function openJob(
  bases: MergeBases,
  adapter: AdapterFile,
  { dtype }: MergeOptions,
): Promise<MergeJob> {
  const { checkpoint } = bases.onto;
  const model = await bases.onto.load();
  try {
    const wanted = dtype && MERGE_DTYPES[dtype];
    const tensors = mergedTensors({ checkpoint, model, adapter, dtype: wanted });
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

function describe(
  { bases, adapter, tensors }: MergeJob,
  { onto }: MergeOptions,
): Omit<MergeResult, 'output'> {
  const { checkpoint } = bases.onto;
  return {
    onto,
    merged_modules: adapter.modules.size,
    replaced_tensors: adapter.replaced.size,
    bytes_before: sizeOf([...checkpoint.tensors.values()]),
    bytes_after: sizeOf(tensors),
  };
}

function sizeOf(specs: readonly TensorSpec[]): number {
  return specs.reduce((sum, { dtype, shape }) => {
    return sum + (dtypeBits(dtype) / 8) * shape.reduce((size, length) => size * length, 1);
  }, 0);
}

/** Node itself, and one layer in float32 beside its written form. */
function memoryOf({ tensors }: MergeJob): NonNullable<MergeResult['dry_run']> {
  const largest = Math.max(
    ...tensors.map(({ shape }) => 4 * shape.reduce((size, length) => size * length, 1)),
  );
  return { memory_peak_bytes: 200e6 + 2 * largest };
}

type Checked = Pick<MergeResult, 'verification' | 'kl_trained_to_merged'>;

async function write(job: MergeJob, output: string, options: MergeOptions): Promise<Checked> {
  const { folder } = job.bases.onto.checkpoint;
  const probe = makeProbe(job.model, await encoderOf(folder));
  let checked: Checked = {};
  await writeFolder(output, { force: options.force }, async (target) => {
    await copyOtherFiles(folder, target, ['config.json']);
    await writeConfig(job, target, options);
    await writeTensors(job, target, options);
    checked = await verify(job, target, probe);
    await writeManifest(target, await manifestOf(job, options));
  });
  return checked;
}

async function encoderOf(folder: string): Promise<((text: string) => number[]) | undefined> {
  if (!existsSync(join(folder, 'tokenizer.json'))) return undefined;
  const tokenizer = await loadTokenizer(folder);
  return (text) => tokenizer.encode(text);
}

/** config.json stays byte for byte unless the weights' format or dtype changes. */
async function writeConfig(
  { bases }: MergeJob,
  target: string,
  { dtype }: MergeOptions,
): Promise<void> {
  const text = await readFile(join(bases.onto.checkpoint.folder, 'config.json'), 'utf8');
  const { quantization_config: _, ...config } = JSON.parse(text);
  const key = 'torch_dtype' in config ? 'torch_dtype' : 'dtype';
  const wanted = dtype ? TORCH_NAMES[MERGE_DTYPES[dtype]] : config[key];
  const isSame = bases.onto.checkpoint.quantized.size === 0 && wanted === config[key];
  if (wanted !== undefined) config[key] = wanted;
  const changed = `${JSON.stringify(config, null, 2)}\n`;
  await writeFile(join(target, 'config.json'), isSame ? text : changed);
}

async function writeTensors(
  { tensors }: MergeJob,
  target: string,
  { maxShardBytes, onProgress }: MergeOptions,
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

async function verify(job: MergeJob, target: string, probe: Probe): Promise<Checked> {
  const { model, adapter, bases } = job;
  const expected = await probeScores(model, probe);
  const dtypes = roundedLinears(job);
  const rounding =
    dtypes.size > 0 ? await roundingEffect(model, adapter, { probe, dtypes }) : undefined;
  const checkpoint = await openCheckpoint(target);
  try {
    const merged = await loadModel(checkpoint);
    try {
      const verification = verifyMerge(expected, await probeScores(merged, probe), rounding);
      if (!bases.trained) return { verification };
      const kl = await divergenceFrom(bases.trained, { adapter, merged, probe });
      return { verification, kl_trained_to_merged: kl };
    } finally {
      merged.dispose();
    }
  } finally {
    checkpoint.close();
  }
}

/** Linear layers that are rounded to 16 bits, and were changed or had more. */
function roundedLinears({ tensors, bases, model, adapter }: MergeJob): Map<string, StoredDtype> {
  const { checkpoint } = bases.onto;
  const dtypes = new Map(tensors.map(({ name, dtype }) => [name, dtype]));
  const names = storedNames(checkpoint.config, dtypes);
  const rounded = new Map<string, StoredDtype>();
  for (const module of model.linears.keys()) {
    const own = module === HEAD ? names.get(`${model.config.names.tokens}.weight`) : undefined;
    const stored = names.get(`${module}.weight`) ?? own ?? '';
    const dtype = dtypes.get(stored) as StoredDtype | undefined;
    if (dtype === undefined || dtype === 'F32') continue;
    const isAsBefore =
      !adapter.modules.has(module) && checkpoint.tensors.get(stored)?.dtype === dtype;
    if (!isAsBefore) rounded.set(module, dtype);
  }
  return rounded;
}

async function divergenceFrom(
  trained: MergeBase,
  { adapter, merged, probe }: { adapter: AdapterFile; merged: Decoder; probe: Probe },
): Promise<number> {
  const model = await trained.load();
  const attached = await loadAdapter(model, adapter.folder);
  try {
    return await probeDivergence(model, merged, probe);
  } finally {
    attached.dispose();
    model.dispose();
  }
}

async function manifestOf(
  { bases, adapter }: MergeJob,
  options: MergeOptions,
): Promise<Parameters<typeof writeManifest>[1]> {
  const { model, adapter: adapterName, dtype, onto } = options;
  const weights = 'adapter_model.safetensors';
  const trained = await readManifest(adapter.folder);
  return {
    command: 'merge',
    config: { model, adapter: adapterName, dtype: dtype ?? null, onto },
    inputs: { [weights]: await sha256OfFile(join(adapter.folder, weights)) },
    ...(bases.record && { base_model: bases.record }),
    ...(await tokenizerHashes(bases.onto.checkpoint.folder)),
    ...(trained?.template === undefined ? {} : { template: trained.template }),
  };
}
