import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readSafetensors, type SafetensorsFile } from '../../checkpoint/checkpoint.js';
import { LlmkitError } from '../../errors.js';
import { type AdapterConfig, readAdapterConfig } from './adapter-config.js';
import { loraScale } from './lora-config.js';

/** Name of the adapter's weights. */
export const WEIGHTS_FILE = 'adapter_model.safetensors';
/** What PEFT puts before a tensor's name. */
export const PREFIX = 'base_model.model.';

/** The low-rank change of one linear layer: scale · (B A x + bias). */
export interface LoraModule {
  readonly r: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly scale: number;
  /** [r, in] */
  readonly a: Float32Array;
  /** [out, r] */
  readonly b: Float32Array;
  /** [out] */
  readonly bias?: Float32Array;
}

/** Values and their shape. */
export interface StoredValues {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** What a PEFT folder holds, independent of any model. */
export interface AdapterFile {
  readonly folder: string;
  readonly config: AdapterConfig;
  /** By module path. */
  readonly modules: ReadonlyMap<string, LoraModule>;
  /** Low-rank changes of embeddings, by module path: row t changes by scale · B A[:, t]. */
  readonly embeddings: ReadonlyMap<string, LoraModule>;
  /** Tensors that take the place of the base's, by their Hugging Face name: biases, modules_to_save. */
  readonly replaced: ReadonlyMap<string, StoredValues>;
}

/**
 * Reads a PEFT folder.
 *
 * @throws LlmkitError `checkpoint` when it is not an adapter or broken; `unsupported` for what llmkit
 *   cannot do exactly
 */
export async function readAdapter(folder: string): Promise<AdapterFile> {
  const config = await readAdapterConfig(folder);
  const path = join(folder, WEIGHTS_FILE);
  if (!(await stat(path).catch(() => undefined))) {
    throw new LlmkitError(
      'checkpoint',
      `${folder}: expected the adapter's weights in ${WEIGHTS_FILE}`,
    );
  }
  const file = await readSafetensors(path);
  try {
    return { folder, config, ...sortTensors(file, config) };
  } finally {
    file.close();
  }
}

/** The names of a pair of matrices: A, B and a bias on B. */
const LINEAR_PARTS = { a: 'lora_A.weight', b: 'lora_B.weight', bias: 'lora_B.bias' };
const EMBEDDING_PARTS = { a: 'lora_embedding_A', b: 'lora_embedding_B' };
const LORA_TENSOR =
  /^(.*)\.(lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B)$/;

type Sorted = Pick<AdapterFile, 'modules' | 'embeddings' | 'replaced'>;

function sortTensors(file: SafetensorsFile, config: AdapterConfig): Sorted {
  const modules = new Map<string, LoraModule>();
  const embeddings = new Map<string, LoraModule>();
  const replaced = new Map<string, StoredValues>();
  for (const [name, tensor] of file.tensors) {
    if (!name.startsWith(PREFIX)) throw unknownTensor(file.path, name);
    const [, module = '', part] = LORA_TENSOR.exec(name.slice(PREFIX.length)) ?? [];
    if (part === undefined) {
      const own = ownName(file.path, name);
      replaced.set(own, { shape: tensor.shape, values: file.floats(name) });
    } else if (part.startsWith('lora_embedding_')) {
      embeddings.set(module, readPair(file, { module, parts: EMBEDDING_PARTS, config }));
    } else {
      modules.set(module, readPair(file, { module, parts: LINEAR_PARTS, config }));
    }
  }
  // PEFT saves the base's own table beside a LoRA on it.
  for (const module of embeddings.keys()) replaced.delete(`${module}.weight`);
  if (modules.size + embeddings.size + replaced.size === 0) {
    throw new LlmkitError('checkpoint', `${file.path}: the adapter holds no tensors`);
  }
  return { modules, embeddings, replaced };
}

interface PairPlace {
  readonly module: string;
  readonly parts: { readonly a: string; readonly b: string; readonly bias?: string };
  readonly config: AdapterConfig;
}

function readPair(file: SafetensorsFile, { module, parts, config }: PairPlace): LoraModule {
  const { r, scale } = loraScale(config.lora, module);
  const name = (part: string) => `${PREFIX}${module}.${part}`;
  const inFeatures = file.tensors.get(name(parts.a))?.shape[1] ?? 0;
  const outFeatures = file.tensors.get(name(parts.b))?.shape[0] ?? 0;
  const read = (part: string, shape: readonly number[]) => {
    expectShape(file, name(part), shape);
    return file.floats(name(part));
  };
  const a = read(parts.a, [r, inFeatures]);
  const b = read(parts.b, [outFeatures, r]);
  const lora = { r, inFeatures, outFeatures, scale, a, b };
  if (!config.lora.loraBias || parts.bias === undefined) return lora;
  return { ...lora, bias: read(parts.bias, [outFeatures]) };
}

function expectShape(file: SafetensorsFile, name: string, shape: readonly number[]): void {
  const got = file.tensors.get(name)?.shape;
  if (got !== undefined && got.join() === shape.join()) return;
  const found = got === undefined ? 'it is missing' : `got [${got.join(', ')}]`;
  throw new LlmkitError(
    'checkpoint',
    `${file.path}: ${name}: expected shape [${shape.join(', ')}] by adapter_config.json, ${found}`,
  );
}

/** The Hugging Face name of a tensor saved whole. */
function ownName(path: string, name: string): string {
  const own = name.slice(PREFIX.length).replace('.base_layer.', '.');
  if (/\.(weight|bias)$/.test(own) && !/(lora_|token_adapter)/.test(own)) return own;
  throw unknownTensor(path, name);
}

function unknownTensor(path: string, name: string): LlmkitError {
  const expected = 'expected LoRA weights, biases and whole modules';
  return new LlmkitError('unsupported', `${path}: ${name}: ${expected}`);
}
