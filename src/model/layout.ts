import type { HfConfig } from '../checkpoint/checkpoint.js';
import type { DecoderConfig } from './config.js';
import { decoderConfig } from './families/index.js';

/** One parameter of a model, known from config.json alone. */
export interface ParameterSpec {
  /** Hugging Face tensor name, for example `model.layers.0.mlp.up_proj.weight`. */
  readonly name: string;
  readonly role: 'linear' | 'embedding' | 'norm' | 'bias';
  /** As the decoder uses it; a linear weight is [out, in]. */
  readonly shape: readonly number[];
  /** The file holds the transposed matrix (GPT-2's Conv1D). */
  readonly transposedOnDisk: boolean;
  /** Adds to the residual stream: its fresh values may be smaller. */
  readonly residual: boolean;
}

/** Module path of the output head. */
export const HEAD = 'lm_head';

/** Every parameter a model of this config has, in the order of the forward pass. Needs no weights. */
export function parameterSpecs(config: HfConfig): readonly ParameterSpec[] {
  return specsOf(decoderConfig(config));
}

/** The same for a config that is already read. */
export function specsOf(config: DecoderConfig): readonly ParameterSpec[] {
  const { names, hiddenSize: D, embeddingSize, vocabSize: V } = config;
  const projected = embeddingSize !== D;
  const specs = [matrix(names.tokens, [V, embeddingSize], { role: 'embedding' })];
  if (config.learnedPositions && names.positions) {
    const rows = config.maxLength + config.learnedPositions.offset;
    specs.push(matrix(names.positions, [rows, D], { role: 'embedding' }));
  }
  if (projected && names.projectIn) specs.push(matrix(names.projectIn, [D, embeddingSize]));
  for (let i = 0; i < config.numLayers; i++) {
    specs.push(...attentionSpecs(config, `${names.layers}.${i}`));
    specs.push(...mlpSpecs(config, `${names.layers}.${i}`));
  }
  if (config.finalNorm) specs.push(...normSpecs(config, names.finalNorm));
  if (projected && names.projectOut) specs.push(matrix(names.projectOut, [embeddingSize, D]));
  if (!config.tiedHead) specs.push(matrix(HEAD, [V, embeddingSize]));
  return specs;
}

/** The embedding that is the head's matrix too; undefined where the head has its own. */
export function tiedTable(config: HfConfig): ParameterSpec | undefined {
  const { tiedHead, names } = decoderConfig(config);
  if (!tiedHead) return undefined;
  return parameterSpecs(config).find(({ name }) => name === `${names.tokens}.weight`);
}

function attentionSpecs(config: DecoderConfig, layer: string): ParameterSpec[] {
  const { names, hiddenSize: D, headSize: E, transposedOnDisk } = config;
  const [queries, keys] = [config.numHeads * E, config.numKvHeads * E];
  const outputs = names.qkv.length === 1 ? [queries + 2 * keys] : [queries, keys, keys];
  const specs = normSpecs(config, `${layer}.${names.attentionNorm}`);
  names.qkv.forEach((name, i) => {
    const shape = [outputs[i] ?? 0, D] as const;
    specs.push(
      ...linearSpecs(`${layer}.${name}`, shape, { bias: config.qkvBias, transposedOnDisk }),
    );
  });
  if (config.qkNorm) {
    for (const name of [names.queryNorm, names.keyNorm]) {
      specs.push(vector(`${layer}.${name}.weight`, E, 'norm'));
    }
  }
  const options = { bias: config.attentionOutBias, transposedOnDisk, residual: true };
  return [...specs, ...linearSpecs(`${layer}.${names.attentionOut}`, [D, queries], options)];
}

function mlpSpecs(config: DecoderConfig, layer: string): ParameterSpec[] {
  const { names, hiddenSize: D, intermediateSize: F, mlpBias: bias, transposedOnDisk } = config;
  const specs = normSpecs(config, `${layer}.${names.mlpNorm}`);
  for (const name of names.mlpIn) {
    specs.push(...linearSpecs(`${layer}.${name}`, [F, D], { bias, transposedOnDisk }));
  }
  const options = { bias, transposedOnDisk, residual: true };
  return [...specs, ...linearSpecs(`${layer}.${names.mlpOut}`, [D, F], options)];
}

function normSpecs({ norm, hiddenSize }: DecoderConfig, module: string): ParameterSpec[] {
  const specs: ParameterSpec[] = [];
  if (norm.weight) specs.push(vector(`${module}.weight`, hiddenSize, 'norm'));
  if (norm.bias) specs.push(vector(`${module}.bias`, hiddenSize, 'bias'));
  return specs;
}

function linearSpecs(
  module: string,
  shape: readonly [number, number],
  options: { bias: boolean; transposedOnDisk: boolean; residual?: boolean },
): ParameterSpec[] {
  const { bias, ...rest } = options;
  const specs = [matrix(module, shape, rest)];
  if (bias) specs.push(vector(`${module}.bias`, shape[0], 'bias'));
  return specs;
}

function matrix(
  module: string,
  shape: readonly [number, number],
  options: Partial<ParameterSpec> = {},
): ParameterSpec {
  const defaults = { role: 'linear', transposedOnDisk: false, residual: false } as const;
  return { ...defaults, ...options, name: `${module}.weight`, shape };
}

function vector(name: string, length: number, role: 'norm' | 'bias'): ParameterSpec {
  return { name, role, shape: [length], transposedOnDisk: false, residual: false };
}

/** `a.b.weight` → `a.b`: the module of a parameter. */
export function moduleOf(parameter: string): string {
  return parameter.slice(0, parameter.lastIndexOf('.'));
}

/**
 * Names of parameters in a file: older writers leave out the base model's prefix
 * (`h.0.attn.c_attn.weight` for `transformer.h.0.attn.c_attn.weight`), and of a tied pair a file may
 * hold the head alone.
 *
 * @returns Hugging Face name → name in the file, for those that are there
 */
export function storedNames(
  config: HfConfig,
  tensors: { has(name: string): boolean },
): ReadonlyMap<string, string> {
  return storedNamesOf(decoderConfig(config), tensors);
}

/** The same for a config that is already read. */
export function storedNamesOf(
  config: DecoderConfig,
  tensors: { has(name: string): boolean },
): ReadonlyMap<string, string> {
  const { basePrefix, tokens } = config.names;
  const stored = new Map<string, string>();
  for (const { name } of specsOf(config)) {
    const candidates = [name];
    if (name.startsWith(basePrefix)) candidates.push(name.slice(basePrefix.length));
    if (config.tiedHead && name === `${tokens}.weight`) candidates.push(`${HEAD}.weight`);
    const found = candidates.find((candidate) => tensors.has(candidate));
    if (found !== undefined) stored.set(name, found);
  }
  return stored;
}
