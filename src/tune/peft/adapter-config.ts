import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { LlmkitError } from '../../errors.js';
import type { Linear } from '../../model/linear.js';
import type { LoraConfig } from './lora-config.js';
import { peftTargets } from './targets.js';

/** Name of the adapter's configuration. */
export const CONFIG_FILE = 'adapter_config.json';

/** The PEFT whose layout of the configuration is written. */
const PEFT_VERSION = '0.21.0';

/** An adapter_config.json, read. */
export interface AdapterConfig {
  readonly lora: LoraConfig;
  /** Name of the model it was trained on, as its writer gave it. */
  readonly baseModel?: string;
}

const nameList = z.union([z.string(), z.array(z.string())]);
const positive = z.number().positive();

/** The keys of PEFT's LoraConfig that llmkit computes with. */
const honoured = z.object({
  base_model_name_or_path: z.string().nullish(),
  r: z.int().min(1).default(8),
  lora_alpha: z.number().default(8),
  lora_dropout: z.number().min(0).lt(1).default(0),
  target_modules: nameList.nullish(),
  exclude_modules: nameList.nullish(),
  bias: z.enum(['none', 'all', 'lora_only']).default('none'),
  use_rslora: z.boolean().nullish(),
  lora_bias: z.boolean().nullish(),
  rank_pattern: z.record(z.string(), z.int().min(1)).nullish(),
  alpha_pattern: z.record(z.string(), positive).nullish(),
  layers_to_transform: z.union([z.int(), z.array(z.int())]).nullish(),
  layers_pattern: nameList.nullish(),
  modules_to_save: z.array(z.string()).nullish(),
});

/** Keys that change no number when a finished adapter is read. */
const WITHOUT_EFFECT = new Set([
  'auto_mapping',
  'eva_config', // EVA chooses the first A; the base stays
  'fan_in_fan_out', // the model family says how a layer is stored
  'inference_mode',
  'megatron_core',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
]);
/** First values of A and B that leave the base as it is; the others change it. */
const PLAIN_INITS = new Set<unknown>([
  true,
  false,
  null,
  undefined,
  'gaussian',
  'eva',
  'orthogonal',
]);

/**
 * Reads and checks adapter_config.json: every key is honoured or refused.
 *
 * @throws LlmkitError `checkpoint` when there is none or it is broken; `unsupported`
 */
export async function readAdapterConfig(folder: string): Promise<AdapterConfig> {
  const path = join(folder, CONFIG_FILE);
  const json = parse(path, await readConfigFile(folder, path));
  refuseUnsupported(path, json);
  const parsed = honoured.safeParse(json);
  if (!parsed.success) {
    const problems = parsed.error.issues.map(
      (issue) => `${issue.path.join('.')}: ${issue.message}`,
    );
    throw new LlmkitError('checkpoint', `${path}: ${problems.join('; ')}`);
  }
  const { base_model_name_or_path: baseModel } = parsed.data;
  return { lora: loraConfig(parsed.data), ...(baseModel ? { baseModel } : {}) };
}

async function readConfigFile(folder: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
    throw new LlmkitError('checkpoint', `${folder}: not an adapter: it has no ${CONFIG_FILE}`);
  }
}

function parse(path: string, text: string): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return { ...json };
  } catch {
    // Falls through: one message for both.
  }
  throw new LlmkitError('checkpoint', `${path}: expected a JSON object`);
}

function refuseUnsupported(path: string, json: Readonly<Record<string, unknown>>): void {
  const refuse = (key: string, expected: string) => {
    const got = JSON.stringify(json[key]);
    throw new LlmkitError('unsupported', `${path}: ${key}: expected ${expected}, got ${got}`);
  };
  if (json.peft_type !== 'LORA') refuse('peft_type', '"LORA"');
  if (![undefined, null, 'CAUSAL_LM'].includes(json.task_type as string)) {
    refuse('task_type', '"CAUSAL_LM"');
  }
  if (!PLAIN_INITS.has(json.init_lora_weights)) {
    const fix =
      'an adapter converted to plain LoRA (PEFT: path_initial_model_for_weight_conversion)';
    refuse('init_lora_weights', fix);
  }
  const known = new Set([...Object.keys(honoured.shape), ...WITHOUT_EFFECT]);
  for (const key of ['peft_type', 'task_type', 'init_lora_weights']) known.add(key);
  for (const [key, value] of Object.entries(json)) {
    if (!known.has(key) && !isUnset(value)) refuse(key, 'it unset: llmkit does not compute it');
  }
}

/** Null, false, an empty list or an empty object. */
function isUnset(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function loraConfig(json: z.output<typeof honoured>): LoraConfig {
  const list = (value: string | string[] | number | number[]) =>
    Array.isArray(value) ? value : [value];
  return {
    r: json.r,
    alpha: json.lora_alpha,
    dropout: json.lora_dropout,
    targetModules: json.target_modules ?? [],
    bias: json.bias,
    useRslora: json.use_rslora ?? false,
    ...(json.exclude_modules && { excludeModules: json.exclude_modules }),
    ...(json.lora_bias && { loraBias: true }),
    ...(json.rank_pattern && { rankPattern: json.rank_pattern }),
    ...(json.alpha_pattern && { alphaPattern: json.alpha_pattern }),
    ...(json.layers_to_transform != null && {
      layersToTransform: list(json.layers_to_transform) as number[],
    }),
    ...(json.layers_pattern && { layersPattern: list(json.layers_pattern) as string[] }),
    ...(json.modules_to_save && { modulesToSave: json.modules_to_save }),
  };
}

/** What of an adapter its configuration tells. */
export interface DescribedAdapter {
  readonly baseModel: string;
  readonly config: LoraConfig;
  readonly modules: readonly string[];
  readonly linears: ReadonlyMap<string, Linear>;
}

/** adapter_config.json as PEFT 0.21 writes it, every key; targets are resolved to module names. */
export function peftConfig({
  baseModel,
  config,
  modules,
  linears,
}: DescribedAdapter): Record<string, unknown> {
  return {
    alora_invocation_tokens: null,
    alpha_pattern: config.alphaPattern ?? {},
    arrow_config: null,
    auto_mapping: null,
    base_model_name_or_path: baseModel,
    bias: config.bias,
    corda_config: null,
    ensure_weight_tying: false,
    eva_config: null,
    exclude_modules: null,
    fan_in_fan_out: modules.some((module) => linears.get(module)?.transposedOnDisk),
    inference_mode: true,
    init_lora_weights: true,
    kasa_config: null,
    layer_replication: null,
    layers_pattern: null,
    layers_to_transform: null,
    loftq_config: {},
    lora_alpha: config.alpha,
    lora_bias: config.loraBias ?? false,
    lora_dropout: config.dropout,
    lora_ga_config: null,
    megatron_config: null,
    megatron_core: 'megatron.core',
    modules_to_save: config.modulesToSave ?? null,
    monteclora_config: null,
    peft_type: 'LORA',
    peft_version: PEFT_VERSION,
    qalora_group_size: 16,
    r: config.r,
    rank_pattern: config.rankPattern ?? {},
    revision: null,
    target_modules: peftTargets(modules, [...linears.keys()]),
    target_parameters: null,
    task_type: 'CAUSAL_LM',
    trainable_token_indices: null,
    use_bdlora: null,
    use_dora: false,
    use_qalora: false,
    use_rslora: config.useRslora,
    velora_config: null,
  };
}
