import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint.js';
import { type DownloadProgress, resolveModel } from '../checkpoint/hub.js';
import type { Decoder } from '../model/decoder.js';
import { describeCompute } from '../model/describe-compute.js';
import { type LoadOptions, loadModel } from '../model/load.js';
import { deviceMemory } from '../tensor/backends/device-memory.js';
import { useBackend } from '../tensor/backends/index.js';
import { type ComputeChoice, type ComputeUse, choiceOn } from '../tensor/compute.js';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.js';
import { requireTokenizer } from '../tokenizer/tokenizer-files.js';
import { type Adapter, loadAdapter } from '../tune/peft/index.js';
import { anotherBaseThanTrained } from './adapter-base.js';
import { type DeviceMapOptions, placementOf } from './device-map.js';

/** The backend that computes; see `useBackend`. */
export type Backend = Awaited<ReturnType<typeof useBackend>>;

/** Which model to open, and how. */
export interface OpenModelOptions extends DeviceMapOptions {
  /** A folder or a hub id. */
  readonly model: string;
  /** A PEFT folder. */
  readonly adapter?: string | undefined;
  readonly backend?: string | undefined;
  /** Where `native` computes: `cpu`, `cuda` or `auto`. */
  readonly device?: string | undefined;
  readonly threads?: number | undefined;
  /** The arithmetic of products with the weights; left out: `auto`. */
  readonly compute?: ComputeChoice | undefined;
  /** What `auto` chooses for; left out: exact log-probabilities, in float32. */
  readonly use?: ComputeUse | undefined;
  readonly load?: LoadOptions;
  /** Keeps packed weights in a file beside the checkpoint, and maps them from it the next time. */
  readonly cachePacked?: boolean | undefined;
  readonly onDownload?: (progress: DownloadProgress) => void;
  /** Told when a slower backend than wanted computes, packed weights cannot be kept, or an adapter was trained on another base. */
  readonly onWarning?: ((text: string) => void) | undefined;
}

/** A model ready to compute, with what belongs to it. */
export interface OpenModel {
  readonly folder: string;
  readonly checkpoint: Checkpoint;
  readonly tokenizer: Tokenizer;
  readonly model: Decoder;
  readonly adapter?: Adapter;
  readonly backend: Backend;
  /** For people: `int8 (auto: int4 weights)`. */
  readonly compute: string;
  /** Frees the tensors and closes the files. */
  close(): void;
}

/** Readies the backend. @param options.onWarning told why a better one does not load */
export async function openBackend(
  options: Pick<OpenModelOptions, 'backend' | 'device' | 'threads' | 'maxMemory' | 'onWarning'>,
): Promise<Backend> {
  const { threads, device } = options;
  const backend = await useBackend(options.backend, { threads, device });
  if (backend.warning) options.onWarning?.(backend.warning);
  deviceMemory()?.limit(options.maxMemory);
  return backend;
}

/** Opens a model, its tokenizer and, if one is given, an adapter on top. */
export async function openModel(options: OpenModelOptions): Promise<OpenModel> {
  const { onDownload, compute: choice = 'auto', use = 'exact' } = options;
  const folder = await resolveModel(options.model, onDownload ? { onProgress: onDownload } : {});
  const checkpoint = await openCheckpoint(folder);
  const opened: { dispose(): void }[] = [{ dispose: () => checkpoint.close() }];
  const close = () => {
    for (const part of opened.splice(0).reverse()) part.dispose();
  };
  try {
    await requireTokenizer(folder);
    const backend = await openBackend(options);
    const { cachePacked, onWarning } = options;
    const compute = { choice: choiceOn(backend, choice, use), use };
    const load = { ...options.load, ...placementOf(options) };
    const loading = loadModel(checkpoint, { ...load, compute, cachePacked, onWarning });
    const { tokenizer, model } = await withTokenizer(folder, loading);
    opened.push(model);
    const adapter = options.adapter ? await loadAdapter(model, options.adapter) : undefined;
    if (adapter) opened.push(adapter);
    await warnOfAnotherBase(options, checkpoint);
    const arithmetic = describeCompute(model, choice);
    const parts = { folder, checkpoint, tokenizer, model, backend, compute: arithmetic };
    return { ...parts, close, ...(adapter && { adapter }) };
  } catch (error) {
    close();
    throw error;
  }
}

/** Reads the tokenizer while the model's weights are packed. */
async function withTokenizer(
  folder: string,
  loading: Promise<Decoder>,
): Promise<{ tokenizer: Tokenizer; model: Decoder }> {
  const [tokenizer, model] = await Promise.allSettled([loadTokenizer(folder), loading]);
  if (tokenizer.status === 'rejected') {
    if (model.status === 'fulfilled') model.value.dispose();
    throw tokenizer.reason;
  }
  if (model.status === 'rejected') throw model.reason;
  return { tokenizer: tokenizer.value, model: model.value };
}

async function warnOfAnotherBase(
  { model, adapter, onWarning }: OpenModelOptions,
  checkpoint: Checkpoint,
): Promise<void> {
  if (adapter === undefined || onWarning === undefined) return;
  const difference = await anotherBaseThanTrained({ adapter, model, checkpoint });
  if (difference !== undefined) onWarning(difference);
}
