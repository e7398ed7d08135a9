import type { Tensor3D, Variable } from '../tensor/tfjs.js';
import { Attention } from './attention.js';
import { Mlp } from './mlp.js';
import type { ModelParts, Pass } from './modules.js';
import { Norm } from './norm.js';

/** One layer: attention and MLP, each added to the residual stream, normalised before or after. */
export class Block {
  readonly #preNorm: boolean;
  readonly #attention: Attention;
  readonly #attentionNorm: Norm;
  readonly #mlp: Mlp;
  readonly #mlpNorm: Norm;

  constructor(parts: ModelParts, layer: number) {
    const { names, preNorm } = parts.config;
    this.#preNorm = preNorm;
    this.#attention = new Attention(parts, layer);
    this.#attentionNorm = new Norm(parts, `${names.layers}.${layer}.${names.attentionNorm}`);
    this.#mlp = new Mlp(parts, layer);
    this.#mlpNorm = new Norm(parts, `${names.layers}.${layer}.${names.mlpNorm}`);
  }

  /** @param x [B, T, D]; @returns [B, T, D] */
  forward(x: Tensor3D, pass: Pass): Tensor3D {
    if (!this.#preNorm) {
      const attended = this.#attentionNorm.forward(this.#attention.forward(x, x, pass));
      return this.#mlpNorm.forward(this.#mlp.forward(attended, attended, pass));
    }
    const normed = this.#attentionNorm.forward(x, this.#attention.held(pass.context));
    const attended = this.#attention.forward(normed, x, pass);
    const middle = this.#mlpNorm.forward(attended, this.#mlp.held(pass.context));
    return this.#mlp.forward(middle, attended, pass);
  }

  /** Trainable tensors, adapters' included. */
  variables(): readonly Variable[] {
    const modules = [this.#attentionNorm, this.#attention, this.#mlpNorm, this.#mlp];
    return modules.flatMap((module) => module.variables());
  }
}
