import { type Held, layerNorm, rmsNorm } from '../tensor/ops/index.js';
import { ones, type Tensor, type Tensor1D, type Variable } from '../tensor/tfjs.js';
import type { NormConfig } from './config.js';
import { trainable } from './linear.js';
import { type ModelParts, vectorOf } from './modules.js';

/** A normalisation layer over the last axis. */
export class Norm {
  readonly #config: NormConfig;
  readonly #weight: Tensor1D | undefined;
  readonly #bias: Tensor1D | undefined;

  /** @param module path of the layer; `config` where it is not the model's own kind */
  constructor(parts: ModelParts, module: string, config = parts.config.norm) {
    this.#config = config;
    this.#weight = vectorOf(parts, `${module}.weight`);
    this.#bias = vectorOf(parts, `${module}.bias`);
  }

  forward<T extends Tensor>(x: T, held?: Held): T {
    const weight = this.#weight ?? ones([x.shape[x.rank - 1] ?? 1]);
    const { kind, eps } = this.#config;
    if (kind === 'rms') return rmsNorm(x, weight as Tensor1D, eps, held) as T;
    return layerNorm(x, { weight: weight as Tensor1D, bias: this.#bias, eps, held }) as T;
  }

  variables(): readonly Variable[] {
    return trainable([this.#weight, this.#bias]);
  }
}
