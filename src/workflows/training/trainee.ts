import { copyFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint } from '../../checkpoint/checkpoint.js';
import { CheckpointWriter, toDtype } from '../../checkpoint/writer.js';
import type { Decoder } from '../../model/decoder.js';
import { initModel } from '../../model/init.js';
import { parameterSpecs } from '../../model/layout.js';
import { type LoadOptions, loadModel } from '../../model/load.js';
import { transposeFloats } from '../../model/transpose.js';
import type { StoredDtype } from '../../quant/schemes/scheme.js';
import {
  type ComputeDevice,
  type ComputeRequest,
  choiceOn,
  computeOf,
} from '../../tensor/compute.js';
import { Variable } from '../../tensor/tfjs.js';
import { attachLora } from '../../tune/peft/index.js';
import { copyOtherFiles } from '../copy-files.js';
import type { Base } from './base.js';
import type { TrainingConfig } from './config.js';
import { loraConfig } from './lora.js';
import { type QuantizeOnLoad, quantizeOnLoad } from './quantize-on-load.js';

/** A model to train: what of it is trained, and how the result is written. */
export interface Trainee {
  readonly model: Decoder;
  readonly variables: ReadonlyMap<string, Variable>;
  readonly parameters: { readonly trainable: number; readonly all: number };
  /** Set where the base was quantized on load. */
  readonly quantization?: QuantizeOnLoad;
  /** Writes the result into a folder: a PEFT adapter or a checkpoint. */
  save(folder: string): Promise<void>;
  /** Writes what makes a training checkpoint usable by itself. */
  readonly saveExtra?: (folder: string) => Promise<void>;
  dispose(): void;
}

/** Where a run computes, and how its frozen weights are loaded. */
interface TraineeOptions extends Pick<LoadOptions, 'onWarning' | 'placement'> {
  readonly backend: ComputeDevice;
}

/** Loads or makes the model of a run and what is trained of it. */
export function openTrainee(
  config: TrainingConfig,
  base: Base,
  options: TraineeOptions,
): Promise<Trainee> {
  const { backend, ...load } = options;
  const choice = choiceOn(backend, config.compute ?? 'auto', 'train');
  const compute = { choice, use: 'train' } as const;
  return config.method === 'lora'
    ? openLora(config, base, { ...load, compute })
    : openFull(config, base, compute);
}

async function openLora(
  config: TrainingConfig,
  base: Base,
  options: LoadOptions,
): Promise<Trainee> {
  const checkpoint = base.checkpoint as Checkpoint;
  const quantization = quantizeOnLoad(config, checkpoint);
  const cachePacked = config.cache_packed;
  const model = await loadModel(checkpoint, { ...options, ...quantization, cachePacked });
  const adapter = attachLora(model, loraConfig(config), config.seed);
  const save = (folder: string) => adapter.save(folder, { baseModel: config.model ?? '' });
  const variables = adapter.variables;
  const all = model.numParameters + sizeOf(added(variables, model));
  return {
    model,
    variables,
    parameters: { trainable: sizeOf(variables), all },
    ...(quantization && { quantization }),
    save,
    saveExtra: save,
    dispose() {
      adapter.dispose();
      model.dispose();
    },
  };
}

/** The variables that the adapter adds; biases of the base that it trains are counted there. */
function added(variables: ReadonlyMap<string, Variable>, model: Decoder): Map<string, Variable> {
  const inBase = new Set<unknown>(model.parameters.values());
  return new Map([...variables].filter(([, value]) => !inBase.has(value)));
}

function sizeOf(variables: ReadonlyMap<string, Variable>): number {
  return [...variables.values()].reduce((sum, variable) => sum + variable.size, 0);
}

async function openFull(
  config: TrainingConfig,
  base: Base,
  compute: ComputeRequest,
): Promise<Trainee> {
  const { checkpoint, hfConfig } = base;
  // Fresh weights count as what they will be written as.
  const fresh = fileDtype(config, base) === 'F32' ? 'f32' : 'bf16';
  const model = checkpoint
    ? await loadModel(checkpoint, { trainable: true, compute })
    : initModel(hfConfig, config.seed, computeOf(compute.choice, compute.use, fresh));
  const variables = new Map<string, Variable>();
  for (const [name, value] of model.parameters) {
    if (value instanceof Variable) variables.set(name, value);
  }
  return {
    model,
    variables,
    parameters: { trainable: sizeOf(variables), all: model.numParameters },
    save: (folder) => saveFull(folder, { model, base, dtype: fileDtype(config, base) }),
    dispose: () => model.dispose(),
  };
}

const DTYPES = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;
const TORCH_NAMES = { F32: 'float32', BF16: 'bfloat16', F16: 'float16' } as const;

/** The dtype asked for, else the one the base has, else bf16. */
export function fileDtype({ dtype }: TrainingConfig, { checkpoint }: Base): StoredDtype {
  if (dtype) return DTYPES[dtype];
  const stored = [...(checkpoint?.tensors.values() ?? [])][0]?.dtype;
  return stored === 'F32' || stored === 'F16' ? stored : 'BF16';
}

/** Writes a checkpoint in Hugging Face's layout: weights, config.json and the tokenizer's files. */
async function saveFull(
  folder: string,
  { model, base, dtype }: { model: Decoder; base: Base; dtype: StoredDtype },
): Promise<void> {
  if (base.checkpoint) await copyOtherFiles(base.folder, folder, ['config.json']);
  else await copyTokenizer(base.folder, folder);
  const { torch_dtype: _, quantization_config: __, ...config } = base.hfConfig;
  const text = JSON.stringify({ ...config, dtype: TORCH_NAMES[dtype] }, null, 2);
  await writeFile(join(folder, 'config.json'), `${text}\n`);
  const specs = parameterSpecs(base.hfConfig).map(({ name, shape, transposedOnDisk }) => ({
    name,
    dtype,
    shape: transposedOnDisk ? [...shape].reverse() : shape,
    transposedOnDisk,
  }));
  const writer = new CheckpointWriter(folder, specs);
  try {
    for (const { name, shape, transposedOnDisk } of specs) {
      const values = (await model.parameters.get(name)?.data()) as Float32Array;
      const [cols = 0, rows = 0] = shape;
      const stored = transposedOnDisk ? transposeFloats(values, rows, cols) : values;
      await writer.write(name, toDtype(stored, dtype));
    }
    await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

const TOKENIZER_FILES = /^(tokenizer|special_tokens_map|added_tokens|chat_template|vocab|merges)\b/;

async function copyTokenizer(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (TOKENIZER_FILES.test(name)) await copyFile(join(from, name), join(to, name));
  }
}
