import { type Checkpoint, type HfConfig, openCheckpoint } from '../../checkpoint/checkpoint.js';
import { type DownloadOptions, resolveModel } from '../../checkpoint/hub.js';
import { hashTensors, identityOfTensors } from '../../checkpoint/identity.js';
import { decoderConfig } from '../../model/families/index.js';
import { loadTokenizer, type Tokenizer } from '../../tokenizer/tokenizer.js';
import { type BaseModel, quantizationOf, readManifest } from '../manifest.js';
import type { TrainingConfig } from './config.js';
import { readModelConfig } from './model-config.js';
import type { QuantizeOnLoad } from './quantize-on-load.js';

/** What a run starts from, before any weight is read. */
export interface Base {
  /** Where the tokenizer's files are; of a pretrained base the weights too. */
  readonly folder: string;
  readonly tokenizer: Tokenizer;
  readonly hfConfig: HfConfig;
  /** The context limit in tokens. */
  readonly contextLength: number;
  /** Undefined where the weights are drawn at random. */
  readonly checkpoint: Checkpoint | undefined;
}

/** Opens the base of a run: a checkpoint, or a config and a tokenizer alone. */
export async function openBase(
  config: TrainingConfig,
  download: DownloadOptions = {},
): Promise<Base> {
  const folder = await resolveModel(config.model ?? config.tokenizer ?? '.', download);
  if (config.init === 'random') {
    const tokenizer = await loadTokenizer(folder);
    const hfConfig = await readModelConfig(config.model_config, tokenizer);
    return describe({ folder, tokenizer, hfConfig, checkpoint: undefined });
  }
  const checkpoint = await openCheckpoint(folder);
  try {
    const tokenizer = await loadTokenizer(folder);
    return describe({ folder, tokenizer, hfConfig: checkpoint.config, checkpoint });
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

function describe(base: Omit<Base, 'contextLength'>): Base {
  return { ...base, contextLength: decoderConfig(base.hfConfig).maxLength };
}

/**
 * Which weights a run starts from: the original's identity and, of quantized ones, their own.
 *
 * @param quantization set where the base was quantized on load
 */
export async function baseModelOf(
  { checkpoint, folder }: Base,
  name: string,
  quantization: QuantizeOnLoad | undefined,
): Promise<BaseModel | undefined> {
  if (!checkpoint) return undefined;
  const hashed = await hashTensors(checkpoint);
  const identity = identityOfTensors(hashed);
  if (quantization) {
    const scheme = quantization.plan.scheme.format;
    return { name, identity, quantized: { identity: quantization.identity(hashed), scheme } };
  }
  const manifest = checkpoint.quantized.size > 0 ? await readManifest(folder) : undefined;
  if (!manifest?.base_model) return { name, identity };
  const [scheme, settings] = [schemeOf(checkpoint), quantizationOf(manifest)];
  const quantized = { identity, scheme, ...(settings && { settings }) };
  return { name, identity: manifest.base_model.identity, quantized };
}

/** The format of the first quantized matrix: `nf4`, `int4` and so on. */
export function schemeOf(checkpoint: Checkpoint): string {
  const [module = ''] = checkpoint.quantized;
  return checkpoint.matrix(module).format;
}
