import { readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { openCheckpoint } from '../checkpoint/checkpoint.js';
import { type DownloadProgress, resolveModel } from '../checkpoint/hub.js';
import { type HashedTensor, withHashing } from '../checkpoint/identity.js';
import { checkFreeDisk, checkTarget, writeFolder } from '../checkpoint/output.js';
import { readText } from '../data/text.js';
import { LlmkitError } from '../errors.js';
import { layouts } from '../quant/layouts.js';
import type { MethodName } from '../quant/methods/index.js';
import type { ComputeChoice } from '../tensor/compute.js';
import { copyOtherFiles } from './copy-files.js';
import { sha256OfFile, writeManifest } from './manifest.js';
import { openBackend } from './open-model.js';
import {
  describeJob,
  estimateJob,
  type JobSummary,
  planJob,
  type QuantizeJob,
} from './quantize/job.js';
import { type WrittenTensors, writeTensors } from './quantize/write.js';
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
  /** How scales are chosen; left out: `rtn`, to the nearest code of the largest weight's scale. */
  readonly method?: MethodName | undefined;
  readonly skip: readonly string[];
  /** A name of `schemes` for the output head; left out: as the other layers, unless skipped. */
  readonly head?: string | undefined;
  readonly maxShardBytes?: number | undefined;
  readonly force: boolean;
  /** Plans from headers alone and writes nothing. */
  readonly dryRun: boolean;
  /** A text file whose perplexity is measured before and after. */
  readonly calib?: string | undefined;
  readonly backend?: string | undefined;
  /** Where `native` computes: `cpu`, `cuda` or `auto`. */
  readonly device?: string | undefined;
  readonly threads?: number | undefined;
  /** Of that measurement; left out: `auto`, which is float32. */
  readonly compute?: ComputeChoice | undefined;
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
  const checkpoint = await openCheckpoint(folder);
  try {
    const job = planJob(checkpoint, options);
    for (const note of job.plan.notes) options.onNote?.(note);
    if (options.dryRun) return { output, ...describeJob(job), dry_run: estimateJob(job) };
    await checkFreeDisk(output, job.bytesAfter);
    const { device: computesOn } = await openBackend(options);
    const written = await withHashing(checkpoint, (hashing) =>
      write(job, { ...options, output, computesOn, hashing }),
    );
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

type Written = WrittenTensors['sizes'] & Pick<QuantizeResult, 'perplexity'>;

/** Where the result goes, the device that makes it (`cpu` or `cuda`), and the hashes of what is read. */
interface WriteOptions extends QuantizeOptions {
  readonly output: string;
  readonly computesOn: string;
  readonly hashing: Promise<HashedTensor[]>;
}

async function write(job: QuantizeJob, options: WriteOptions): Promise<Written> {
  const { output, force, calib } = options;
  const { folder: source } = job.checkpoint;
  const text = calib === undefined ? undefined : await readText(calib);
  const measure = (model: string) =>
    text === undefined ? undefined : textPerplexity({ ...options, model }, text);
  const manifest = await manifestOf(job, options);
  const before = await measure(source);
  let written: Written | undefined;
  await writeFolder(output, { force }, async (folder) => {
    const started = performance.now();
    await copyOtherFiles(source, folder, ['config.json']);
    await writeConfig(job, folder);
    const { sizes, identity } = await writeTensors(job, folder, options);
    await writeManifest(folder, {
      ...manifest,
      base_model: { name: options.model, identity },
      timings: { quantize: (performance.now() - started) / 1000 },
    });
    const after = await measure(folder);
    const perplexity = before !== undefined && after !== undefined ? { before, after } : undefined;
    written = { ...sizes, ...(perplexity && { perplexity }) };
  });
  return written as Written;
}

async function writeConfig({ checkpoint, plan }: QuantizeJob, folder: string): Promise<void> {
  const original = JSON.parse(await readFile(join(checkpoint.folder, 'config.json'), 'utf8'));
  const { scheme, untied } = plan;
  const quantization = layouts[scheme.layout].config(scheme, plan.checkpoint);
  const tied = untied ? { tie_word_embeddings: false } : {};
  const config = { ...original, ...tied, quantization_config: quantization };
  await writeFile(join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
}

async function manifestOf(
  { checkpoint, plan }: QuantizeJob,
  options: WriteOptions,
): Promise<Parameters<typeof writeManifest>[1]> {
  const { model, scheme, head, groupSize, doubleQuant, asymmetric, skip, calib } = options;
  const inputs = [join(checkpoint.folder, 'config.json'), ...(calib === undefined ? [] : [calib])];
  const hashes = await Promise.all(
    inputs.map(async (path) => [path, await sha256OfFile(path)] as const),
  );
  return {
    command: 'quantize',
    config: {
      model,
      scheme,
      group_size: groupSize ?? plan.checkpoint.groupSize ?? null,
      double_quant: doubleQuant,
      asymmetric,
      method: plan.method,
      skip,
      head: head ?? null,
    },
    inputs: Object.fromEntries(hashes),
    ...(await tokenizerHashes(checkpoint.folder)),
    device: options.computesOn,
  };
}
