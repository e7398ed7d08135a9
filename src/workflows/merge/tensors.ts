import type { Checkpoint, Dtype, StoredTensor } from '../../checkpoint/checkpoint.js';
import { type TensorSpec, toDtype } from '../../checkpoint/writer.js';
import { LlmkitError } from '../../errors.js';
import type { Decoder } from '../../model/decoder.js';
import { HEAD, moduleOf, parameterSpecs, storedNames } from '../../model/layout.js';
import type { Linear } from '../../model/linear.js';
import { transposeFloats } from '../../model/transpose.js';
import type { StoredDtype } from '../../quant/schemes/scheme.js';
import { dequantize, Weight } from '../../tensor/weight.js';
import { type AdapterFile, addLoraDelta } from '../../tune/peft/index.js';

/** One tensor of the merged checkpoint. */
export interface MergedTensor extends TensorSpec {
  /** Makes its bytes; nothing is kept between calls. */
  bytes(): Uint8Array;
}

/** What the merged tensors are made from. */
export interface MergeParts {
  readonly checkpoint: Checkpoint;
  readonly model: Decoder;
  readonly adapter: AdapterFile;
  /** Of all floating-point tensors; left out: each keeps its own. */
  readonly dtype?: StoredDtype | undefined;
}

/**
 * The tensors of base + adapter in the order of the base's files: matrices get their low-rank change,
 * quantized ones are written dense.
 *
 * @throws LlmkitError `unsupported` for changes that no plain checkpoint can hold
 */
export function mergedTensors(parts: MergeParts): MergedTensor[] {
  refuseTied(parts.model, parts.adapter);
  refuseUnplacedBias(parts);
  const { checkpoint, model } = parts;
  const hfNames = new Map<string, string>();
  const stored = storedNames(checkpoint.config, namesOf(checkpoint));
  for (const [name, inFile] of stored) hfNames.set(inFile, name);
  const tensors = new Map<string, MergedTensor>();
  for (const tensor of checkpoint.tensors.values()) {
    const module = quantizedModule(checkpoint, tensor.name);
    const name = module === undefined ? tensor.name : `${module}.weight`;
    if (tensors.has(name)) continue;
    const hfName = hfNames.get(name) ?? name;
    const linear = hfName.endsWith('.weight') ? model.linears.get(moduleOf(hfName)) : undefined;
    tensors.set(
      name,
      linear && hfNames.has(name)
        ? mergedMatrix(name, linear, parts)
        : mergedVector(tensor, hfName, parts),
    );
  }
  return [...tensors.values()];
}

/** W + scale · B A of a linear layer, [out, in]. */
export function mergedValues(linear: Linear, adapter: AdapterFile): Float32Array {
  const whole = adapter.replaced.get(`${linear.name}.weight`);
  const values = whole ? placed(whole.values, linear) : denseValues(linear);
  const lora = adapter.modules.get(linear.name);
  if (lora) addLoraDelta(values, lora);
  return values;
}

function denseValues({ name, weight }: Linear): Float32Array {
  if (weight instanceof Weight) return dequantize(weight.data);
  throw new LlmkitError('shape', `merge: ${name}: expected a frozen weight`);
}

/** Values of a file as [out, in]. */
function placed(values: Float32Array, linear: Linear): Float32Array {
  const { inFeatures, outFeatures, transposedOnDisk } = linear;
  return transposedOnDisk ? transposeFloats(values, inFeatures, outFeatures) : values.slice();
}

function mergedMatrix(name: string, linear: Linear, parts: MergeParts): MergedTensor {
  const { checkpoint, adapter } = parts;
  const { inFeatures, outFeatures, transposedOnDisk } = linear;
  const stored = checkpoint.tensors.get(name);
  const isDense = stored !== undefined && !checkpoint.quantized.has(moduleOf(name));
  const dtype = parts.dtype ?? floatDtype(isDense ? stored.dtype : embeddingDtype(checkpoint));
  const shape = transposedOnDisk ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
  return {
    name,
    dtype,
    shape,
    bytes() {
      const values = mergedValues(linear, adapter);
      const placed = transposedOnDisk ? transposeFloats(values, outFeatures, inFeatures) : values;
      return toDtype(placed, dtype);
    },
  };
}

function mergedVector(tensor: StoredTensor, hfName: string, parts: MergeParts): MergedTensor {
  const { checkpoint, adapter, dtype: wanted } = parts;
  const { name, shape } = tensor;
  const replaced = adapter.replaced.get(hfName);
  const lora = hfName.endsWith('.bias') ? adapter.modules.get(moduleOf(hfName)) : undefined;
  const isFloat = ['F64', 'F32', 'F16', 'BF16'].includes(tensor.dtype);
  const dtype = isFloat && wanted ? wanted : tensor.dtype;
  if (!replaced && !lora?.bias && dtype === tensor.dtype) {
    return { name, dtype, shape, bytes: () => checkpoint.bytes(name) };
  }
  const target = floatDtype(dtype);
  return {
    name,
    dtype: target,
    shape,
    bytes() {
      const values = replaced?.values.slice() ?? checkpoint.floats(name);
      lora?.bias?.forEach((value, i) => {
        values[i] = (values[i] ?? 0) + lora.scale * value;
      });
      return toDtype(values, target);
    },
  };
}

/** Module of a part of a quantized matrix. */
function quantizedModule(checkpoint: Checkpoint, tensor: string): string | undefined {
  const [...names] = tensor.split('.');
  for (let end = names.length - 1; end > 0; end--) {
    const module = names.slice(0, end).join('.');
    if (checkpoint.quantized.has(module)) return tensor === `${module}.bias` ? undefined : module;
  }
  return undefined;
}

/** A checkpoint's names, with one `weight` for each quantized matrix. */
function namesOf(checkpoint: Checkpoint): { has(name: string): boolean } {
  return {
    has: (name) => checkpoint.tensors.has(name) || checkpoint.quantized.has(moduleOf(name)),
  };
}

/** The dtype of the matrices that are not quantized. */
function embeddingDtype({ tensors }: Checkpoint): Dtype {
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length === 2);
  return matrices.find(({ dtype }) => ['F32', 'F16', 'BF16'].includes(dtype))?.dtype ?? 'F32';
}

function floatDtype(dtype: Dtype): StoredDtype {
  return dtype === 'F16' || dtype === 'BF16' ? dtype : 'F32';
}

/** One file tensor is both the embedding and the head: a change of one of them has no place. */
function refuseTied({ config, checkpointConfig }: Decoder, adapter: AdapterFile): void {
  const embeddings = parameterSpecs(checkpointConfig)
    .filter(({ role }) => role === 'embedding')
    .map(({ name }) => moduleOf(name));
  const changed = [
    ...adapter.embeddings.keys(),
    ...adapter.modules.keys(),
    ...[...adapter.replaced.keys()].map(moduleOf),
  ];
  const isReplaced = embeddings.some((module) => adapter.replaced.has(`${module}.weight`));
  const hint = isReplaced ? '' : '; generate and eval run it with --adapter';
  const tied = [HEAD, config.names.tokens].find((module) => changed.includes(module));
  if (config.tiedHead && tied !== undefined) {
    throw new LlmkitError(
      'unsupported',
      `${adapter.folder}: changes ${tied}, but this model ties its head to the embedding ` +
        `(tie_word_embeddings): merging would change both${hint}`,
    );
  }
  const embedding = embeddings.find((module) => changed.includes(module));
  if (embedding === undefined) return;
  throw new LlmkitError(
    'unsupported',
    `${adapter.folder}: changes the embedding ${embedding}, which merge cannot verify${hint}`,
  );
}

function refuseUnplacedBias({ model, adapter }: MergeParts): void {
  for (const [name, { bias }] of adapter.modules) {
    if (!bias || model.linears.get(name)?.bias) continue;
    throw new LlmkitError(
      'unsupported',
      `${adapter.folder}: lora_bias adds a bias to ${name}, which has none in the base model`,
    );
  }
}
