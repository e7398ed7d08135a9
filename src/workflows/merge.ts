import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { DownloadProgress } from '../checkpoint/hub.js';
import { checkFreeDisk, checkTarget, writeFolder } from '../checkpoint/output.js';
import { LlmkitError } from '../errors.js';
import { loadTokenizer } from '../tokenizer/tokenizer.js';
import { readAdapter } from '../tune/peft/index.js';
import { copyOtherFiles } from './copy-files.js';
import { type Manifest, readManifest, sha256OfFile, writeManifest } from './manifest.js';
import { openBases } from './merge/bases.js';
import { type Checked, checkMerged } from './merge/check.js';
import { type MergeJob, openJob, sizeOf, writeTensors } from './merge/job.js';
import { makeProbe } from './merge/verify.js';
import { type Backend, openBackend } from './open-model.js';
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
  /** Where `native` computes: `cpu`, `cuda` or `auto`. */
  readonly device?: string | undefined;
  readonly threads?: number | undefined;
  readonly onDownload?: (progress: DownloadProgress) => void;
  readonly onProgress?: (doneBytes: number, totalBytes: number, tensor: string) => void;
  readonly onNote?: (text: string) => void;
  readonly onWarning?: (text: string) => void;
}

/** What `merge` did; the keys are those of `--json`. */
export interface MergeResult extends Partial<Checked> {
  readonly output: string;
  readonly onto: 'trained' | 'original';
  /** Layers that the adapter changes. */
  readonly merged_modules: number;
  /** Other parameters that it replaces. */
  readonly replaced_tensors: number;
  readonly bytes_before: number;
  readonly bytes_after: number;
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
    const job = await openJob(bases, adapter, options.dtype && MERGE_DTYPES[options.dtype]);
    try {
      if (options.dryRun) return { output, ...describe(job, options), dry_run: memoryOf(job) };
      await checkFreeDisk(output, sizeOf(job.tensors));
      const { description } = backend;
      const checked = await write(job, { ...options, output, inUse: backend });
      const seconds = (performance.now() - started) / 1000;
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

/** Node itself, and one layer in float32 beside its written form. */
function memoryOf({ tensors }: MergeJob): NonNullable<MergeResult['dry_run']> {
  const largest = Math.max(
    ...tensors.map(({ shape }) => 4 * shape.reduce((size, length) => size * length, 1)),
  );
  return { memory_peak_bytes: 200e6 + 2 * largest };
}

async function write(
  job: MergeJob,
  options: MergeOptions & { readonly output: string; readonly inUse: Backend },
): Promise<Checked> {
  const { output, force } = options;
  const { folder } = job.bases.onto.checkpoint;
  const probe = makeProbe(job.model, await encoderOf(folder));
  const manifest = await manifestOf(job, options);
  let checked: Checked | undefined;
  await writeFolder(output, { force }, async (target) => {
    const started = performance.now();
    await copyOtherFiles(folder, target, ['config.json']);
    await writeConfig(job, target, options);
    await writeTensors(job, target, options);
    const { description: backend, device } = options.inUse;
    const timings = { merge: (performance.now() - started) / 1000 };
    await writeManifest(target, { ...manifest, backend, device, timings });
    checked = await checkMerged(job, target, probe);
  });
  return checked as Checked;
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

async function manifestOf(
  { bases, adapter }: MergeJob,
  options: MergeOptions,
): Promise<Omit<Manifest, 'version'>> {
  const { model, adapter: adapterName, dtype, onto } = options;
  const weights = join(adapterName, 'adapter_model.safetensors');
  const trained = await readManifest(adapter.folder);
  return {
    command: 'merge',
    config: { model, adapter: adapterName, dtype: dtype ?? null, onto },
    inputs: { [weights]: await sha256OfFile(weights) },
    ...(bases.record && { base_model: bases.record }),
    ...(await tokenizerHashes(bases.onto.checkpoint.folder)),
    ...(trained?.template === undefined ? {} : { template: trained.template }),
  };
}
