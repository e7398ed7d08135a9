import { embedding } from '../tensor/ops/index.js';
import type { Tensor2D, Tensor3D } from '../tensor/tfjs.js';
import { Weight } from '../tensor/weight.js';

/** A table of vectors, addressed by its Hugging Face module path; adapters wrap it. */
export interface Embedding {
  /** Module path, for example `model.embed_tokens`. */
  readonly name: string;
  readonly rows: number;
  readonly width: number;
  /** @param ids int32 [B, T]; @returns [B, T, width] */
  forward(ids: Tensor2D): Tensor3D;
}

/** The rows of one matrix, whatever its format; it does not own the matrix. */
export class TableEmbedding implements Embedding {
  readonly name: string;
  readonly rows: number;
  readonly width: number;
  readonly #table: Weight | Tensor2D;

  constructor(name: string, table: Weight | Tensor2D) {
    this.name = name;
    this.#table = table;
    [this.rows, this.width] = table instanceof Weight ? [table.rows, table.cols] : table.shape;
  }

  forward(ids: Tensor2D): Tensor3D {
    return embedding(ids, this.#table);
  }
}
