import type { Tensor, Tensor1D, Tensor2D, Variable } from '../tensor/tfjs.js';
import type { Weight } from '../tensor/weight.js';

/** What one forward pass carries besides the activations. */
export interface ForwardContext {
  /** Set in training: the seed and, per row of [B*T, D], the int32 (example, position) that key dropout masks. */
  readonly dropout?: { readonly seed: number; readonly keys: Tensor2D };
}

/** A linear layer y = x Wᵀ + b, addressed by its Hugging Face module path; adapters wrap it. */
export interface Linear {
  /** Module path, for example `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** True where the file stores [in, out] (GPT-2's Conv1D); `weight` is [out, in] all the same. */
  readonly transposedOnDisk: boolean;
  /** [out, in]: frozen in its stored format, or a dense variable. */
  readonly weight: Weight | Tensor2D;
  readonly bias?: Tensor1D;
  /** @param x [..., in]; @returns [..., out] */
  forward(x: Tensor, context: ForwardContext): Tensor;
  /** Trainable tensors of this layer and of what it wraps. */
  variables(): readonly Variable[];
}
