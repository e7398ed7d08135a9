import { randomIntegers } from '../../data/random.js';
import { LlmkitError } from '../../errors.js';
import type { Decoder } from '../../model/decoder.js';
import type { Linear } from '../../model/linear.js';
import type { Tensor, Variable } from '../../tensor/tfjs.js';
import { Adapter, splitName } from './adapter.js';
import type { LoraModule } from './adapter-file.js';
import { type LoraConfig, loraScale } from './lora-config.js';
import type { LoraParts } from './lora-linear.js';
import { targetModules } from './targets.js';
import { wrapLinear } from './wrap.js';

/** The streams of random numbers that A is drawn from, one per linear layer of the model. */
const INIT_STREAM = 1 << 20;

/**
 * Puts a fresh LoRA on a model: A uniform in ±1/√in from the seed, B zero, so that nothing changes yet.
 *
 * @throws LlmkitError `config` when a target matches nothing; `unsupported` for modules_to_save
 */
export function attachLora(model: Decoder, config: LoraConfig, seed: number): Adapter {
  if (config.modulesToSave?.length) {
    throw new LlmkitError('unsupported', 'lora.modules_to_save: cannot be trained; leave it out');
  }
  const names = [...model.linears.keys()];
  const layers = new Map<string, LoraParts>();
  for (const name of targetModules(config, names)) {
    const stream = names.indexOf(name);
    model.wrapLinear(name, (inner) => {
      const fresh = freshModule(inner, config, randomIntegers(seed, INIT_STREAM + stream));
      const wrapped = wrapLinear(inner, fresh, { rate: config.dropout, stream, trainable: true });
      layers.set(name, wrapped.parts);
      return wrapped;
    });
  }
  return new Adapter(model, config, { layers, parameters: trainedBiases(model, config, layers) });
}

function freshModule(inner: Linear, config: LoraConfig, next: () => number): LoraModule {
  const { inFeatures, outFeatures, name } = inner;
  const { r, scale } = loraScale(config, name);
  const bound = 1 / Math.sqrt(inFeatures);
  const a = new Float32Array(r * inFeatures);
  for (let i = 0; i < a.length; i++) a[i] = (next() / 2 ** 31 - 1) * bound;
  const b = new Float32Array(outFeatures * r);
  const fresh = { r, inFeatures, outFeatures, scale, a, b };
  return config.loraBias ? { ...fresh, bias: new Float32Array(outFeatures) } : fresh;
}

/** Makes the model's biases trainable as the config says. */
function trainedBiases(
  model: Decoder,
  { bias }: LoraConfig,
  layers: ReadonlyMap<string, LoraParts>,
): Map<string, Variable> {
  const trained = new Map<string, Variable>();
  if (bias === 'none') return trained;
  for (const [name, value] of model.parameters) {
    const [module, part] = splitName(name);
    if (part !== 'bias' || (bias === 'lora_only' && !layers.has(module))) continue;
    trained.set(name, asTrainable(value));
  }
  return trained;
}

function asTrainable(value: Tensor): Variable {
  const parameter = value as Variable;
  parameter.trainable = true;
  return parameter;
}
