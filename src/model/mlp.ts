import {
  activatedLinear,
  activation,
  gatedLinear,
  gatedMlp,
  type Held,
} from '../tensor/ops/index.js';
import type { Tensor, Tensor3D, Variable } from '../tensor/tfjs.js';
import {
  allFrozen,
  type ForwardContext,
  forwardAll,
  forwardOnto,
  heldIn,
  type Linear,
} from './linear.js';
import { linearOf, type ModelParts, type Pass } from './modules.js';

/** The feed-forward part of one layer, gated where it has two input matrices. */
export class Mlp {
  readonly #parts: ModelParts;
  readonly #in: readonly string[];
  readonly #out: string;

  constructor(parts: ModelParts, layer: number) {
    const { names } = parts.config;
    this.#parts = parts;
    this.#in = names.mlpIn.map((name) => `${names.layers}.${layer}.${name}`);
    this.#out = `${names.layers}.${layer}.${names.mlpOut}`;
  }

  /** @returns residual + MLP of x, [B, T, D] */
  forward(x: Tensor3D, residual: Tensor3D, { context }: Pass): Tensor3D {
    const middle = this.#middle(x, context);
    return forwardOnto(residual, linearOf(this.#parts, this.#out), middle, context);
  }

  /** How the input of this part is held, and what is made of it before the residual. */
  held(context: ForwardContext): Held {
    return heldIn(context, this.#linears());
  }

  #middle(x: Tensor3D, context: ForwardContext): Tensor {
    const name = this.#parts.config.activation;
    const linears = this.#linears();
    const held = this.held(context);
    const [gate, up] = allFrozen(linears, context) ?? [];
    if (gate && up) return gatedLinear(x, { gate, up }, name, held);
    if (gate) return activatedLinear(x, gate, name, held);
    const [gated, linear] = forwardAll(linears, x, context) as [Tensor, Tensor | undefined];
    return linear ? gatedMlp(gated, linear, name, held) : activation(gated, name, held);
  }

  #linears(): readonly Linear[] {
    return this.#in.map((path) => linearOf(this.#parts, path));
  }

  variables(): readonly Variable[] {
    return [...this.#in, this.#out].flatMap((name) => linearOf(this.#parts, name).variables());
  }
}
