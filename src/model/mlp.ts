import { activation, gatedMlp } from '../tensor/ops/index.js';
import type { Tensor, Tensor3D, Variable } from '../tensor/tfjs.js';
import { Weight } from '../tensor/weight.js';
import { forwardAll } from './linear.js';
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

  forward(x: Tensor3D, { context }: Pass): Tensor3D {
    const name = this.#parts.config.activation;
    const linears = this.#in.map((path) => linearOf(this.#parts, path));
    const [first, up] = forwardAll(linears, x, context);
    const middle = up
      ? gatedMlp(first as Tensor, up, name, { keepBf16: this.#roundsProducts() })
      : activation(first as Tensor, name);
    return linearOf(this.#parts, this.#out).forward(middle, context) as Tensor3D;
  }

  /** Whether the products with the first matrices are made in less than float32. */
  #roundsProducts(): boolean {
    const weights = this.#in.map((path) => linearOf(this.#parts, path).weight);
    return weights.every((weight) => weight instanceof Weight && weight.compute !== 'f32');
  }

  variables(): readonly Variable[] {
    return [...this.#in, this.#out].flatMap((name) => linearOf(this.#parts, name).variables());
  }
}
