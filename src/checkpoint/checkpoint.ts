import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LlmkitError } from '../errors.js';
import type { WeightData, WeightFormat } from '../tensor/weight.js';
import { type Allocate, toFloats } from './dtype.js';
import type { FileStamp } from './file-stamp.js';
import { layoutOf } from './formats/index.js';
import type { QuantizedLayout } from './formats/layout.js';
import type { FileRange } from './hash-threads.js';
import {
  findTensor,
  type ReadOptions,
  readSafetensors,
  type SafetensorsFile,
  type StoredTensor,
  type TensorSource,
} from './safetensors.js';
import { INDEX_FILE, readIndex } from './safetensors-index.js';

export type { Dtype } from './dtype.js';
export type { ReadOptions, SafetensorsFile, StoredTensor, TensorSource } from './safetensors.js';
export { readSafetensors } from './safetensors.js';

/** A model's config.json. */
export type HfConfig = Readonly<Record<string, unknown>> & { readonly model_type?: string };

/** An open Hugging Face checkpoint folder. */
export interface Checkpoint extends TensorSource {
  readonly folder: string;
  readonly config: HfConfig;
  /** Its weight files as they were opened. */
  readonly stamps: readonly FileStamp[];
  /** Names of the modules that are stored quantized. */
  readonly quantized: ReadonlySet<string>;
  /**
   * The matrix of a module (`<module>.weight`) in its stored format: dense, or as config.json's quantization_config says.
   *
   * @param allocate makes memory for scales that have to be widened
   */
  matrix(module: string, allocate?: Allocate): WeightData;
  /** Where a tensor lies in its open file. */
  range(name: string): FileRange;
  /** Lets go of the memory behind a tensor's bytes, until they are asked for or read again. */
  release(name: string): void;
  close(): void;
}

/**
 * Opens a checkpoint folder: config.json and safetensors files, one or sharded.
 *
 * @throws LlmkitError `checkpoint` when something is missing or broken, `unsupported` for pickled weights and
 *   quantization methods that cannot be read
 */
export async function openCheckpoint(
  folder: string,
  options: ReadOptions = {},
): Promise<Checkpoint> {
  const config = await readConfig(folder);
  const layout = layoutOf(config, join(folder, 'config.json'));
  const files: SafetensorsFile[] = [];
  try {
    const fileOf = await openFiles(folder, files, options);
    return new OpenCheckpoint({ folder, config, layout, files, fileOf });
  } catch (error) {
    for (const file of files) file.close();
    throw error;
  }
}

/** Reads config.json of a model's folder. */
export async function readConfig(folder: string): Promise<HfConfig> {
  const isFolder = await stat(folder).then(
    (entry) => entry.isDirectory(),
    () => undefined,
  );
  if (isFolder !== true) {
    const got = isFolder === undefined ? 'does not exist' : 'is a file';
    throw new LlmkitError(
      'checkpoint',
      `${folder}: expected a folder with config.json and safetensors files; it ${got}`,
    );
  }
  const path = join(folder, 'config.json');
  const text = await readFile(path, 'utf8').catch(() => {
    throw new LlmkitError(
      'checkpoint',
      `${path}: no such file; a checkpoint folder holds config.json and safetensors files`,
    );
  });
  return parseConfig(text, path);
}

function parseConfig(text: string, path: string): HfConfig {
  let config: unknown;
  try {
    config = JSON.parse(text);
  } catch (error) {
    throw new LlmkitError('checkpoint', `${path}: not valid JSON: ${(error as Error).message}`);
  }
  if (typeof config === 'object' && config !== null && !Array.isArray(config)) {
    return config as HfConfig;
  }
  throw new LlmkitError('checkpoint', `${path}: expected a JSON object`);
}

/** Opens the weight files of a folder into `files`; returns the file that holds each tensor. */
async function openFiles(
  folder: string,
  files: SafetensorsFile[],
  options: ReadOptions,
): Promise<Map<string, SafetensorsFile>> {
  const names = await readdir(folder);
  if (names.includes('model.safetensors')) {
    const file = await readSafetensors(join(folder, 'model.safetensors'), options);
    files.push(file);
    return new Map([...file.tensors.keys()].map((name) => [name, file]));
  }
  if (names.includes(INDEX_FILE)) return openShards(folder, files, options);
  throw noWeights(folder, names);
}

async function openShards(
  folder: string,
  files: SafetensorsFile[],
  options: ReadOptions,
): Promise<Map<string, SafetensorsFile>> {
  const weightMap = await readIndex(folder);
  const shards = new Map<string, SafetensorsFile>();
  const fileOf = new Map<string, SafetensorsFile>();
  for (const [tensor, shard] of weightMap) {
    const file = shards.get(shard) ?? (await readSafetensors(join(folder, shard), options));
    if (!shards.has(shard)) files.push(file);
    shards.set(shard, file);
    findTensor(file.tensors, tensor, `${join(folder, shard)}, which ${INDEX_FILE} names for it`);
    fileOf.set(tensor, file);
  }
  return fileOf;
}

function noWeights(folder: string, names: readonly string[]): LlmkitError {
  const pickled = names.find((name) => /\.(bin|pt|pth|ckpt)(\.index\.json)?$/.test(name));
  if (pickled === undefined) {
    return new LlmkitError(
      'checkpoint',
      `${folder}: expected model.safetensors or ${INDEX_FILE}, found neither`,
    );
  }
  return new LlmkitError(
    'unsupported',
    `${folder}: expected safetensors, found ${pickled}: pickled weights can run code when they are loaded and are ` +
      'not read. If you trust them, convert them once with Python: python -c "from transformers import ' +
      `AutoModelForCausalLM as M; M.from_pretrained('${folder}').save_pretrained('${folder}-safetensors')"`,
  );
}

const DENSE: Readonly<Record<string, WeightFormat>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' };

class OpenCheckpoint implements Checkpoint {
  readonly folder: string;
  readonly config: HfConfig;
  readonly stamps: readonly FileStamp[];
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly quantized: ReadonlySet<string>;
  readonly #files: readonly SafetensorsFile[];
  readonly #fileOf: ReadonlyMap<string, SafetensorsFile>;
  readonly #layout: QuantizedLayout | undefined;

  constructor(parts: {
    folder: string;
    config: HfConfig;
    layout: QuantizedLayout | undefined;
    files: readonly SafetensorsFile[];
    fileOf: ReadonlyMap<string, SafetensorsFile>;
  }) {
    this.folder = parts.folder;
    this.config = parts.config;
    this.stamps = parts.files.map(({ stamp }) => stamp);
    this.#files = parts.files;
    this.#fileOf = parts.fileOf;
    this.#layout = parts.layout;
    this.tensors = new Map(
      [...parts.fileOf].map(([name, file]) => [name, findTensor(file.tensors, name, file.path)]),
    );
    this.quantized = new Set(parts.layout?.modules(this.tensors.keys()));
  }

  bytes(name: string): Uint8Array {
    return this.#holder(name).bytes(name);
  }

  range(name: string): FileRange {
    return this.#holder(name).range(name);
  }

  #holder(name: string): SafetensorsFile {
    const tensor = findTensor(this.tensors, name, this.folder);
    return this.#fileOf.get(tensor.name) as SafetensorsFile;
  }

  release(name: string): void {
    this.#fileOf.get(name)?.release(name);
  }

  floats(name: string, allocate?: Allocate): Float32Array {
    const { dtype } = findTensor(this.tensors, name, this.folder);
    const values = toFloats(this.bytes(name), dtype, allocate);
    this.release(name); // the values are a copy
    return values;
  }

  matrix(module: string, allocate?: Allocate): WeightData {
    if (this.#layout && this.quantized.has(module)) {
      const source: TensorSource = {
        tensors: this.tensors,
        bytes: (name) => this.bytes(name),
        floats: (name) => this.floats(name, allocate),
      };
      return this.#layout.matrix(module, source);
    }
    const { name, dtype, shape } = findTensor(this.tensors, `${module}.weight`, this.folder);
    const [rows, cols] = shape;
    if (rows === undefined || cols === undefined || shape.length !== 2) {
      throw new LlmkitError(
        'shape',
        `${this.folder}: expected ${name} to be a matrix, got [${shape}]`,
      );
    }
    const format = DENSE[dtype];
    if (format) return { format, rows, cols, codes: this.bytes(name) };
    return { format: 'f32', rows, cols, codes: new Uint8Array(this.floats(name).buffer) };
  }

  close(): void {
    for (const file of this.#files) file.close();
  }
}
