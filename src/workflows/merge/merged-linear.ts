import type { ForwardContext, Linear } from '../../model/linear.js';
import type { StoredDtype } from '../../quant/schemes/scheme.js';
import { roundToDtype } from '../../quant/stored-dtype.js';
import { linear } from '../../tensor/ops/index.js';
import {
  add,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tensor1d,
  type Variable,
} from '../../tensor/tfjs.js';
import { Weight } from '../../tensor/weight.js';
import type { AdapterFile } from '../../tune/peft/index.js';
import { mergedValues } from './tensors.js';

/** A linear layer whose merged matrix is made for each call and dropped: one layer in memory. */
export class MergedLinear implements Linear {
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly transposedOnDisk: boolean;
  readonly weight: Weight | Tensor2D;
  readonly bias?: Tensor1D;
  readonly #merged: () => Float32Array;
  readonly #addedBias: Float32Array | undefined;

  /** @param base the layer of base + adapter */
  constructor(base: Linear, adapter: AdapterFile, dtype: StoredDtype) {
    this.name = base.name;
    this.inFeatures = base.inFeatures;
    this.outFeatures = base.outFeatures;
    this.transposedOnDisk = base.transposedOnDisk;
    this.weight = base.weight;
    if (base.bias) this.bias = base.bias;
    this.#merged = () => roundToDtype(mergedValues(base, adapter), dtype);
    const lora = adapter.modules.get(base.name);
    this.#addedBias = lora?.bias?.map((value) => lora.scale * value);
  }

  forward(x: Tensor, _context: ForwardContext): Tensor {
    const { buffer, byteOffset, byteLength } = this.#merged();
    const codes = new Uint8Array(buffer, byteOffset, byteLength);
    const weight = new Weight({
      format: 'f32',
      rows: this.outFeatures,
      cols: this.inFeatures,
      codes,
    });
    try {
      const y = linear(x, weight, this.bias);
      return this.#addedBias ? add(y, tensor1d(this.#addedBias)) : y;
    } finally {
      weight.dispose();
    }
  }

  frozen(): undefined {
    return undefined;
  }

  variables(): readonly Variable[] {
    return [];
  }
}
