import * as z from 'zod';
import { dataFormats, type FormatName } from '../../data/formats/index.js';
import { methodNames } from '../../quant/methods/index.js';
import { schemes } from '../../quant/schemes/index.js';
import type { ComputeChoice } from '../../tensor/compute.js';
import { schedulerNames } from '../../tune/schedule.js';
import { deviceMapShape } from '../device-map.js';

const sourceSchema = z.strictObject({
  path: z.string().min(1),
  format: z.enum(Object.keys(dataFormats) as [FormatName, ...FormatName[]]).optional(),
  template: z.string().min(1).optional(),
});

/** A path, a mapping, or a list of them. */
const sourcesSchema = z.preprocess(
  (value) =>
    value === undefined
      ? undefined
      : (Array.isArray(value) ? value : [value]).map((item) =>
          typeof item === 'string' ? { path: item } : item,
        ),
  z.array(sourceSchema).min(1),
);

const loraSchema = z.strictObject({
  r: z.int().min(1).max(4096).default(8),
  alpha: z.number().positive().default(16),
  dropout: z.number().min(0).lt(1).default(0),
  target_modules: z
    .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
    .default('all-linear'),
  bias: z.enum(['none', 'all', 'lora_only']).default('none'),
  use_rslora: z.boolean().default(false),
});

const quantizationSchema = z.strictObject({
  scheme: z.enum(Object.keys(schemes) as [string, ...string[]]).default('nf4'),
  group_size: z.int().min(1).optional(),
  double_quant: z.boolean().default(false),
  asymmetric: z.boolean().default(false),
  method: z.enum(methodNames).default('rtn'),
  skip: z.array(z.string().min(1)).default(['lm_head']),
});

/** Every key of a training config. Relative paths are relative to the current folder. */
export const trainingShape = {
  model: z.string().min(1).optional(),
  output_dir: z.string().min(1),
  method: z.enum(['lora', 'full']).default('lora'),
  init: z.enum(['pretrained', 'random']).default('pretrained'),
  model_config: z.union([z.string().min(1), z.record(z.string(), z.unknown())]).optional(),
  tokenizer: z.string().min(1).optional(),
  load_in_4bit: z.boolean().default(false),
  quantization: quantizationSchema.optional(),
  lora: loraSchema.prefault({}),
  data: sourcesSchema,
  eval_data: sourcesSchema.optional(),
  max_length: z.int().min(2).optional(),
  packing: z.boolean().default(false),
  train_on: z.enum(['completion', 'all']).default('completion'),
  shuffle: z.boolean().default(true),
  max_steps: z.int().min(1).optional(),
  epochs: z.number().positive().default(3),
  batch_size: z.int().min(1).default(4),
  gradient_accumulation_steps: z.int().min(1).default(1),
  optim: z.enum(['adamw', 'adamw_8bit']).default('adamw'),
  learning_rate: z.number().positive().default(2e-4),
  min_lr: z.number().min(0).default(0),
  lr_scheduler: z.enum(schedulerNames).default('cosine'),
  warmup_steps: z.int().min(0).default(0),
  weight_decay: z.number().min(0).default(0),
  max_grad_norm: z.number().min(0).default(1),
  adam_beta1: z.number().min(0).lt(1).default(0.9),
  adam_beta2: z.number().min(0).lt(1).default(0.999),
  adam_eps: z.number().positive().default(1e-8),
  gradient_checkpointing: z.boolean().default(false),
  eval_steps: z.int().min(1).optional(),
  eval_batch_size: z.int().min(1).optional(),
  early_stopping_patience: z.int().min(1).optional(),
  load_best_at_end: z.boolean().default(false),
  save_steps: z.int().min(1).default(500),
  save_total_limit: z.int().min(1).optional(),
  dtype: z.enum(['f32', 'bf16', 'f16']).optional(),
  cache_packed: z.boolean().default(false),
  ...deviceMapShape,
  resume: z.boolean().default(false),
  force: z.boolean().default(false),
  dry_run: z.boolean().default(false),
};

/** A checked training config; the global keys that matter here beside its own. */
export type TrainingConfig = z.output<z.ZodObject<typeof trainingShape>> & {
  readonly seed: number;
  readonly backend?: string | undefined;
  /** Where `native` computes: `cpu`, `cuda` or `auto`. */
  readonly device?: string | undefined;
  readonly threads?: number | undefined;
  readonly compute?: ComputeChoice | undefined;
};

/** Checks across keys: reports each problem with the key it is about. */
export function checkTraining(
  config: TrainingConfig,
  problem: (key: string, message: string) => void,
): void {
  checkModel(config, problem);
  if (config.min_lr > config.learning_rate) {
    problem(
      'min_lr',
      `must be at most learning_rate (${config.learning_rate}), got ${config.min_lr}`,
    );
  }
  if (config.max_steps !== undefined && config.warmup_steps > config.max_steps) {
    problem(
      'warmup_steps',
      `must be at most max_steps (${config.max_steps}), got ${config.warmup_steps}`,
    );
  }
  if (config.compute === 'int8') {
    problem('compute', 'int8 has no gradients: rounding x to integers has none; use bf16 or f32');
  }
  if (config.eval_data) return;
  for (const key of ['early_stopping_patience', 'load_best_at_end', 'eval_steps'] as const) {
    if (config[key]) problem(key, 'needs eval_data');
  }
}

function checkModel(config: TrainingConfig, problem: (key: string, message: string) => void): void {
  const random = config.init === 'random';
  if (random && config.method !== 'full') {
    problem('init', 'random needs `method: full`: there is nothing to adapt yet');
  }
  if (random && config.model_config === undefined) {
    problem('model_config', 'is missing: `init: random` builds the model from it');
  }
  if (random && config.tokenizer === undefined) {
    problem('tokenizer', 'is missing: `init: random` needs the folder of a tokenizer');
  }
  if (!random && config.model === undefined) problem('model', 'is missing');
  for (const key of ['model_config', 'tokenizer'] as const) {
    if (!random && config[key] !== undefined) problem(key, 'is only for `init: random`');
  }
  if (random && config.model !== undefined) problem('model', 'is not read with `init: random`');
  if (config.load_in_4bit && config.method === 'full') {
    problem('load_in_4bit', 'needs `method: lora`: quantized weights are not trained');
  }
  if (config.quantization && !config.load_in_4bit) {
    problem('quantization', 'says how `load_in_4bit: true` quantizes; set that too');
  }
  if (config.cache_packed && config.method === 'full') {
    problem('cache_packed', 'needs `method: lora`: weights that are trained are not packed');
  }
  if (config.dtype && config.method === 'lora') {
    problem('dtype', 'is only for `method: full`: an adapter is written in f32');
  }
}
