import type { Decoder } from '../../model/decoder.js';
import type { Variable } from '../../tensor/tfjs.js';
import { PREFIX } from './adapter-file.js';
import type { LoraConfig } from './lora-config.js';
import { loraDelta } from './lora-delta.js';
import type { LoraParts } from './lora-linear.js';
import { saveAdapter } from './save.js';

/** An adapter attached to a model. */
export class Adapter {
  readonly config: LoraConfig;
  readonly #model: Decoder;
  readonly #layers: ReadonlyMap<string, LoraParts>;
  /** Trained parameters of the model itself, by Hugging Face name. */
  readonly #parameters: ReadonlyMap<string, Variable>;
  /** Whole layers that took another's place. */
  readonly #owned: readonly Variable[];

  /** @param parts what attachLora and loadAdapter put on the model */
  constructor(model: Decoder, config: LoraConfig, parts: AttachedParts) {
    this.config = config;
    this.#model = model;
    this.#layers = parts.layers;
    this.#parameters = parts.parameters;
    this.#owned = parts.owned ?? [];
  }

  /** Its tensors by PEFT's name, in the order of the model. */
  get variables(): ReadonlyMap<string, Variable> {
    const named = new Map<string, Variable>();
    for (const [module, { a, b, bias }] of this.#layers) {
      named.set(`${PREFIX}${module}.lora_A.weight`, a);
      named.set(`${PREFIX}${module}.lora_B.weight`, b);
      if (bias) named.set(`${PREFIX}${module}.lora_B.bias`, bias);
    }
    for (const [name, value] of this.#parameters) {
      const [module, part] = splitName(name);
      const own = this.#layers.has(module) ? `${module}.base_layer.${part}` : name;
      named.set(`${PREFIX}${own}`, value);
    }
    return named;
  }

  /** scale · B A of a module, [out, in]; undefined where the adapter does not change it. */
  delta(module: string): Float32Array | undefined {
    const parts = this.#layers.get(module);
    if (parts === undefined) return undefined;
    const [r = 0, inFeatures = 0] = parts.a.shape;
    const [outFeatures = 0] = parts.b.shape;
    const [a, b] = [parts.a.dataSync<'float32'>(), parts.b.dataSync<'float32'>()];
    return loraDelta({ r, inFeatures, outFeatures, scale: parts.scale, a, b });
  }

  /** Writes the PEFT folder; other files in it stay. @param extra.baseModel the base as the user named it */
  async save(folder: string, extra: { readonly baseModel: string }): Promise<void> {
    await saveAdapter(folder, {
      baseModel: extra.baseModel,
      config: this.config,
      modules: [...this.#layers.keys()],
      linears: this.#model.linears,
      tensors: this.variables,
    });
  }

  /** Frees its tensors; the model is not to be used after. */
  dispose(): void {
    for (const { a, b, bias } of this.#layers.values()) {
      for (const part of [a, b, bias]) part?.dispose();
    }
    for (const value of this.#owned) value.dispose();
  }
}

/** What an adapter put on a model. */
export interface AttachedParts {
  readonly layers: ReadonlyMap<string, LoraParts>;
  readonly parameters: ReadonlyMap<string, Variable>;
  readonly owned?: readonly Variable[];
}

/** `a.b.bias` → `a.b` and `bias`. */
export function splitName(name: string): [module: string, part: string] {
  const dot = name.lastIndexOf('.');
  return [name.slice(0, dot), name.slice(dot + 1)];
}
