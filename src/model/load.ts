import type { Checkpoint } from '../checkpoint/checkpoint.js';
import { LlmkitError } from '../errors.js';
import { deviceMemory } from '../tensor/backends/device-memory.js';
import { packWeight } from '../tensor/backends/index.js';
import { type ComputeRequest, computeOf } from '../tensor/compute.js';
import { ReusedMemory } from '../tensor/reused-memory.js';
import { Weight, type WeightData } from '../tensor/weight.js';
import type { DecoderConfig } from './config.js';
import { Decoder } from './decoder.js';
import { decoderConfig } from './families/index.js';
import { LayerPlacement, layerOf, type Placed } from './layer-placement.js';
import { HEAD, moduleOf, type ParameterSpec, specsOf, storedNamesOf } from './layout.js';
import { type ParameterValue, toVariable, type VariableComputes } from './modules.js';
import { openPackedCache, type PackedCache } from './packed-cache.js';
import { readAhead } from './read-ahead.js';
import { transposeBytes, transposeFloats } from './transpose.js';

export { initModel } from './init.js';

/** How to load a model. */
export interface LoadOptions {
  /** Every parameter becomes a variable with gradients; not for quantized checkpoints. */
  readonly trainable?: boolean;
  /** The arithmetic of products with weights, by how the checkpoint stores each; left out: float32. */
  readonly compute?: ComputeRequest | undefined;
  /**
   * Quantize on load: called for every linear layer with a reader of its dense matrix [out, in];
   * undefined leaves the layer as it is stored.
   */
  readonly quantize?: (module: string, read: () => WeightData) => Promise<WeightData | undefined>;
  /** Layers that do not fit into the memory of the device that computes stay on the host; see `LayerPlacement`. */
  readonly placement?: PlacementOptions | undefined;
  /** Packed weights are mapped from a file beside the checkpoint, which is made where it is missing. */
  readonly cachePacked?: boolean | undefined;
  /** Told when that cannot be. */
  readonly onWarning?: ((text: string) => void) | undefined;
}

/** How layers are placed, where the device has a memory of its own. */
export interface PlacementOptions {
  /** Bytes of it for all but frozen weights. */
  readonly workingBytes: (config: DecoderConfig) => number;
  readonly onPlaced?: (placed: Placed) => void;
}

/** Elements that are read while others are packed: their scales take 4 bytes for each group of some 32. */
const READ_AHEAD = 2 ** 28;

/** Tensors that some writers keep and no model of ours reads: tables that follow from the config. */
const HARMLESS = [
  /(^|\.)rotary_emb\.inv_freq$/,
  /\.attn\.(masked_)?bias$/,
  /(^|\.)decoder\.version$/,
];

/**
 * Builds the decoder of a checkpoint. All names and shapes are checked before any weight is read.
 * Frozen matrices keep their stored format and bytes; norms and biases are dense variables that are not trainable.
 *
 * @throws LlmkitError `checkpoint` naming the first tensor that is missing, has another shape or is
 *   no part of the model; `unsupported` on an unknown model_type or feature
 */
export async function loadModel(
  checkpoint: Checkpoint,
  options: LoadOptions = {},
): Promise<Decoder> {
  const config = decoderConfig(checkpoint.config);
  const sources = findSources(checkpoint, config);
  refuseUnknown(checkpoint, config, sources);
  const placement = layerPlacement(checkpoint, sources, config, options);
  const reading = { ...options, memory: new ReusedMemory(), tied: config.tiedHead };
  const packed = options.cachePacked
    ? await packedCacheOf(checkpoint, sources, reading)
    : undefined;
  const values = new Map<string, ParameterValue>();
  try {
    const inTurn = packed !== undefined || options.quantize !== undefined || deviceMemory();
    await readAhead(sources, {
      most: inTurn ? 0 : READ_AHEAD,
      size: ({ spec }) => spec.shape.reduce((product, length) => product * length, 1),
      read: (source) => read(checkpoint, source, { ...reading, packed }),
      done({ spec }, value) {
        values.set(spec.name, value);
        if (value instanceof Weight) placement?.add(spec, value);
      },
      discard: (value) => value.dispose(),
    });
    if (placement) options.placement?.onPlaced?.(placement.finish());
    await packed?.finish();
    const computes = variableComputes(checkpoint, sources, options.compute);
    return new Decoder(config, checkpoint.config, values, computes);
  } catch (error) {
    await packed?.abort();
    for (const value of values.values()) value.dispose();
    throw error;
  }
}

function layerPlacement(
  checkpoint: Checkpoint,
  sources: readonly Source[],
  config: DecoderConfig,
  { placement }: LoadOptions,
): LayerPlacement | undefined {
  const memory = placement && deviceMemory();
  if (!memory) return undefined;
  const ends = sources.filter(({ spec }) => spec.role === 'linear' && layerOf(spec, config) < 0);
  const outside = ends.reduce((sum, { stored, spec }) => {
    const [rows = 0, cols = 0] = spec.shape;
    return sum + (checkpoint.tensors.get(stored)?.sizeBytes ?? rows * cols);
  }, 0);
  const working = placement.workingBytes(config);
  return new LayerPlacement(memory, config, { working, outside });
}

async function packedCacheOf(
  checkpoint: Checkpoint,
  sources: readonly Source[],
  options: ReadOptions,
): Promise<PackedCache | undefined> {
  const { compute, cachePacked, quantize, onWarning = () => undefined } = options;
  if (!cachePacked || !compute) return undefined;
  if (quantize) {
    onWarning('--cache-packed: weights that are quantized on load are not kept');
    return undefined;
  }
  const wanted = sources
    .filter((source) => multiplies(source.spec, options) && isRounded(checkpoint, source))
    .map(({ spec }) => spec);
  return openPackedCache(checkpoint, { wanted, compute, onWarning });
}

/** Whether products with it may compute in less than float32; see `computeOf`. */
function isRounded({ tensors }: Checkpoint, { stored, quantized, spec }: Source): boolean {
  const dtype = tensors.get(stored)?.dtype;
  return spec.shape.length === 2 && (quantized || dtype === 'BF16' || dtype === 'F16');
}

/** A table alone has no products; a tied one is the head's matrix too. */
function multiplies({ role }: ParameterSpec, { tied }: ReadOptions): boolean {
  return role === 'linear' || tied;
}

/** What the stored format of each says; those that are frozen have their own. */
function variableComputes(
  checkpoint: Checkpoint,
  sources: readonly Source[],
  compute: ComputeRequest | undefined,
): VariableComputes {
  if (!compute) return new Map();
  return new Map(
    sources.map((source) => {
      const format = isRounded(checkpoint, source) ? 'bf16' : 'f32';
      return [source.spec.name, computeOf(compute.choice, compute.use, format)] as const;
    }),
  );
}

/** A parameter and where it is stored. */
interface Source {
  readonly spec: ParameterSpec;
  readonly stored: string;
  readonly quantized: boolean;
}

function findSources(checkpoint: Checkpoint, config: DecoderConfig): readonly Source[] {
  const isQuantized = (name: string) =>
    name.endsWith('.weight') && checkpoint.quantized.has(moduleOf(name));
  const stored = storedNamesOf(config, {
    has: (name) => checkpoint.tensors.has(name) || isQuantized(name),
  });
  return specsOf(config).map((spec) => {
    const name = stored.get(spec.name);
    if (name === undefined) {
      throw new LlmkitError(
        'checkpoint',
        `${checkpoint.folder}: expected the tensor ${spec.name} ` +
          `[${spec.shape.join(', ')}], got a checkpoint without it`,
      );
    }
    const quantized = isQuantized(name);
    const onDisk = spec.transposedOnDisk ? [...spec.shape].reverse() : spec.shape;
    if (!quantized) checkShape(checkpoint, name, onDisk);
    return { spec, stored: name, quantized };
  });
}

function checkShape(checkpoint: Checkpoint, name: string, expected: readonly number[]): void {
  const got = checkpoint.tensors.get(name)?.shape ?? [];
  if (got.length === expected.length && got.every((length, i) => length === expected[i])) return;
  throw new LlmkitError('checkpoint', shapeMessage(checkpoint, { name, expected, got }));
}

function shapeMessage(
  checkpoint: Checkpoint,
  { name, expected, got }: Record<'expected' | 'got', readonly number[]> & { name: string },
): string {
  return `${checkpoint.folder}: ${name} must be [${expected.join(', ')}] by config.json, got [${got.join(', ')}]`;
}

/** An unknown tensor means a config that does not describe these weights. */
function refuseUnknown(
  checkpoint: Checkpoint,
  config: DecoderConfig,
  sources: readonly Source[],
): void {
  const known = new Set(sources.map(({ stored }) => stored));
  const quantized = sources.filter((source) => source.quantized).map(({ stored }) => stored);
  const isPart = (name: string) =>
    known.has(name) ||
    (config.tiedHead && name === `${HEAD}.weight`) ||
    HARMLESS.some((pattern) => pattern.test(name)) ||
    quantized.some((weight) => name.startsWith(weight));
  const unknown = [...checkpoint.tensors.keys()].filter((name) => !isPart(name));
  if (unknown.length === 0) return;
  throw new LlmkitError(
    'checkpoint',
    `${checkpoint.folder}: expected the tensors of a ${checkpoint.config.model_type} model with ` +
      `${config.numLayers} layers, got ${unknown.length} more, the first is ${unknown[0]}`,
  );
}

interface ReadOptions extends LoadOptions {
  readonly tied: boolean;
  /** For parts of matrices that are packed. */
  readonly memory: ReusedMemory;
  readonly packed?: PackedCache | undefined;
}

async function read(
  checkpoint: Checkpoint,
  source: Source,
  options: ReadOptions,
): Promise<ParameterValue> {
  const { spec, stored, quantized } = source;
  if (options.trainable && quantized) {
    throw new LlmkitError(
      'unsupported',
      `${checkpoint.folder}: ${spec.name} is quantized and cannot be trained; train an adapter, or ` +
        'start from the 16-bit checkpoint',
    );
  }
  if (options.trainable || spec.shape.length === 1) {
    return toVariable(readFloats(checkpoint, source), spec, options.trainable === true);
  }
  const kept = packedBefore(checkpoint, source, options);
  if (kept) return kept;
  const readMatrix = () => {
    const data = checkpoint.matrix(moduleOf(stored), (size) => options.memory.take(size));
    return quantized || !spec.transposedOnDisk ? data : transposeBytes(data);
  };
  if (options.quantize && !quantized && spec.role === 'linear') {
    const data = await options.quantize(moduleOf(spec.name), readMatrix);
    if (data) {
      checkpoint.release(stored);
      return frozen(data, spec, options);
    }
  }
  const got = readMatrix();
  if (got.rows === spec.shape[0] && got.cols === spec.shape[1]) return frozen(got, spec, options);
  const shapes = { name: stored, expected: spec.shape, got: [got.rows, got.cols] };
  throw new LlmkitError('checkpoint', shapeMessage(checkpoint, shapes));
}

/** A weight whose packed form the cache has; the stored one is left alone unless rows of it are read. */
function packedBefore(
  checkpoint: Checkpoint,
  { spec, stored }: Source,
  { packed, compute }: ReadOptions,
): Weight | undefined {
  const found = packed?.find(spec.name);
  if (!found || !compute) return undefined;
  const isEnough = spec.role === 'linear' || found.form.use === 'products and rows';
  const data = isEnough ? found.stored : checkpoint.matrix(moduleOf(stored));
  return new Weight(data, computeOf(compute.choice, compute.use, data.format), found.form);
}

async function frozen(
  data: WeightData,
  spec: ParameterSpec,
  options: ReadOptions,
): Promise<Weight> {
  const { compute, packed, memory } = options;
  if (!compute || !multiplies(spec, options)) return new Weight(data);
  const weight = new Weight(data, computeOf(compute.choice, compute.use, data.format));
  const use = await packWeight(weight);
  if (!use) return weight;
  await packed?.keep(spec.name, weight);
  if (spec.role !== 'linear' && use === 'products') return weight;
  weight.giveUpData();
  memory.giveBack(data);
  return weight;
}

function readFloats(checkpoint: Checkpoint, { spec, stored }: Source): Float32Array {
  const values = checkpoint.floats(stored);
  if (!spec.transposedOnDisk) return values;
  const [rows = 0, cols = 0] = spec.shape;
  return transposeFloats(values, cols, rows);
}
