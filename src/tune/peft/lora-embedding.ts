import type { Embedding } from '../../model/embedding.js';
import { transposeFloats } from '../../model/transpose.js';
import { embedding, linear } from '../../tensor/ops/index.js';
import { add, mul, type Tensor2D, type Tensor3D, type Variable } from '../../tensor/tfjs.js';
import type { LoraModule } from './adapter-file.js';
import { makeVariable } from './wrap.js';

/**
 * A table with a low-rank change beside it: inner(t) + scale · B A[:, t]. A head tied to the table
 * keeps the base's own, as in PEFT. It is not trained.
 */
export class LoraEmbedding implements Embedding {
  readonly name: string;
  readonly rows: number;
  readonly width: number;
  /** Aᵀ [rows, R] and B [width, R]. */
  readonly variables: readonly [a: Variable, b: Variable];
  readonly #inner: Embedding;
  readonly #scale: number;

  constructor(inner: Embedding, { r, inFeatures, outFeatures, scale, a, b }: LoraModule) {
    this.name = inner.name;
    this.rows = inner.rows;
    this.width = inner.width;
    this.#inner = inner;
    this.#scale = scale;
    const byToken = transposeFloats(a, r, inFeatures);
    this.variables = [
      makeVariable(byToken, [inFeatures, r], false),
      makeVariable(b, [outFeatures, r], false),
    ];
  }

  forward(ids: Tensor2D): Tensor3D {
    const [a, b] = this.variables;
    const low = mul(embedding(ids, a as Tensor2D), this.#scale);
    return add(this.#inner.forward(ids), linear(low, b as Tensor2D));
  }
}
