import { basename, resolve } from 'node:path';
import { type Checkpoint, openCheckpoint } from '../../checkpoint/checkpoint.js';
import { type DownloadOptions, resolveModel } from '../../checkpoint/hub.js';
import { type HashedTensor, hashTensors, identityOfTensors } from '../../checkpoint/identity.js';
import { LlmkitError } from '../../errors.js';
import type { Decoder } from '../../model/decoder.js';
import { loadModel } from '../../model/load.js';
import type { AdapterFile } from '../../tune/peft/index.js';
import {
  type BaseModel,
  type Manifest,
  type QuantizationRecord,
  readManifest,
} from '../manifest.js';
import { type QuantizeOnLoad, quantizeOnLoad } from '../training/quantize-on-load.js';

/** Weights that an adapter may be merged onto. */
export interface MergeBase {
  readonly checkpoint: Checkpoint;
  /** Loads them, quantized anew where the adapter was trained on weights quantized on load. */
  load(): Promise<Decoder>;
}

/** The weights to merge onto, and those the adapter was trained on where they are others. */
export interface MergeBases {
  readonly onto: MergeBase;
  readonly trained?: MergeBase;
  /** What the merged folder records of its base. */
  readonly record: BaseModel | undefined;
  close(): void;
}

/** Which base is wanted. */
export interface BaseRequest extends DownloadOptions {
  readonly model: string;
  readonly onto: 'trained' | 'original';
  /** The 16-bit weights, where `model` is the quantized ones. */
  readonly original?: string | undefined;
  readonly onNote?: ((text: string) => void) | undefined;
}

/**
 * Opens the bases that a merge needs and compares their identities with the adapter's record.
 *
 * @throws LlmkitError `checkpoint` when the model is not the one the adapter was trained on
 */
export async function openBases(request: BaseRequest, adapter: AdapterFile): Promise<MergeBases> {
  const opened: Checkpoint[] = [];
  const close = () => {
    for (const checkpoint of opened) checkpoint.close();
  };
  const open = async (model: string) => {
    const checkpoint = await openCheckpoint(await resolveModel(model, request));
    opened.push(checkpoint);
    return checkpoint;
  };
  try {
    const manifest = await readManifest(adapter.folder);
    const record = manifest?.base_model;
    const given = await open(request.model);
    if (manifest === undefined || record === undefined) {
      return { onto: withoutRecord(given, request, adapter), record: undefined, close };
    }
    const known = { manifest, record, open, hashed: await hashTensors(given) };
    return { ...(await matchRecord(given, request, known)), record, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** An adapter of another program is checked by names and shapes alone, when it is put on the model. */
function withoutRecord(
  given: Checkpoint,
  { model, onto, onNote }: BaseRequest,
  { config }: AdapterFile,
): MergeBase {
  if (onto === 'original') {
    throw new LlmkitError(
      'usage',
      '--onto original: the adapter records no base; give the weights to merge onto as MODEL',
    );
  }
  const { baseModel } = config;
  if (baseModel !== undefined && basename(baseModel) !== basename(resolve(model))) {
    onNote?.(`the adapter names ${baseModel} as its base; checked by names and shapes`);
  }
  return asItIs(given);
}

interface Known {
  readonly manifest: Manifest;
  readonly record: BaseModel;
  readonly hashed: readonly HashedTensor[];
  readonly open: (model: string) => Promise<Checkpoint>;
}

async function matchRecord(
  given: Checkpoint,
  request: BaseRequest,
  known: Known,
): Promise<Pick<MergeBases, 'onto' | 'trained'>> {
  const { record, hashed, manifest } = known;
  const identity = identityOfTensors(hashed);
  const isOriginal = identity === record.identity;
  if (!record.quantized) {
    if (isOriginal) return { onto: asItIs(given) };
    throw anotherBase(request.model, record, identity);
  }
  const isTrained = identity === record.quantized.identity;
  if (!isOriginal && !isTrained) throw anotherBase(request.model, record, identity);
  const trained = isTrained ? asItIs(given) : quantizedAnew(given, manifest, hashed);
  if (request.onto === 'trained') return { onto: trained };
  return { onto: asItIs(isOriginal ? given : await findOriginal(given, request, known)), trained };
}

function asItIs(checkpoint: Checkpoint): MergeBase {
  return { checkpoint, load: () => loadModel(checkpoint) };
}

/** The weights that training quantized on load, from the 16-bit ones. */
function quantizedAnew(
  checkpoint: Checkpoint,
  { config, base_model: record }: Manifest,
  hashed: readonly HashedTensor[],
): MergeBase {
  const onLoad = config.quantization as QuantizationRecord | undefined;
  const quantization = record?.quantized?.settings ?? onLoad;
  const load = async () => {
    const quantizer = quantizeOnLoad(
      { load_in_4bit: true, quantization },
      checkpoint,
    ) as QuantizeOnLoad;
    const model = await loadModel(checkpoint, quantizer);
    if (quantizer.identity(hashed) === record?.quantized?.identity) return model;
    model.dispose();
    throw new LlmkitError(
      'checkpoint',
      `${checkpoint.folder}: quantized anew, it is not the base the adapter was trained on; ` +
        'give the quantized checkpoint itself as MODEL',
    );
  };
  return { checkpoint, load };
}

async function findOriginal(
  given: Checkpoint,
  { original }: BaseRequest,
  { record, open }: Known,
): Promise<Checkpoint> {
  const name = original ?? (await readManifest(given.folder))?.base_model?.name ?? record.name;
  const fix = 'give the 16-bit weights with --original DIR';
  const checkpoint = await open(name).catch((error: Error) => {
    throw new LlmkitError('usage', `--onto original: ${error.message}; ${fix}`);
  });
  const identity = identityOfTensors(await hashTensors(checkpoint));
  if (identity === record.identity) return checkpoint;
  throw new LlmkitError(
    'checkpoint',
    `--onto original: ${name} is not the base that was quantized (identity ` +
      `${short(identity)}, expected ${short(record.identity)}); ${fix}`,
  );
}

function anotherBase(model: string, record: BaseModel, identity: string): LlmkitError {
  const quantized = record.quantized ? ` or ${short(record.quantized.identity)}` : '';
  return new LlmkitError(
    'checkpoint',
    `${model}: the adapter was trained on another base model: expected ${record.name} with identity ` +
      `${short(record.identity)}${quantized}, got ${short(identity)}`,
  );
}

function short(identity: string): string {
  return identity.slice(0, 12);
}
