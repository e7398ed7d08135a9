import { type Compute, isBf16 } from '../tensor/compute.js';
import {
  addResidual,
  type Held,
  type LinearLayer,
  linear,
  linearResidual,
  mergedLinear,
  roundedLinear,
} from '../tensor/ops/index.js';
import {
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  Variable,
} from '../tensor/tfjs.js';
import { Weight } from '../tensor/weight.js';

/** What one forward pass carries besides the activations. */
export interface ForwardContext {
  /** Set in training: the seed and the int32 [B*T, 2] (example, position) that key dropout masks. */
  readonly dropout?: { readonly seed: number; readonly keys: Tensor2D };
  /** Set in training and for its evaluations, whose results need not have the bits of a pass with a cache. */
  readonly training?: boolean;
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
  /** @param x [..., in]; @param held of the result; @returns [..., out] */
  forward(x: Tensor, context: ForwardContext, held?: Held): Tensor;
  /**
   * What `forward` multiplies, where it is a product with a frozen matrix and nothing else: it may be made in one with
   * other products, or with what follows it.
   */
  frozen(context: ForwardContext): LinearLayer | undefined;
  /** Trainable tensors of this layer and of what it wraps. */
  variables(): readonly Variable[];
}

/** What a dense linear layer is made of. */
export interface DenseLinearParts {
  readonly name: string;
  readonly weight: Weight | Tensor2D;
  readonly bias?: Tensor1D | undefined;
  readonly transposedOnDisk: boolean;
  /** Of products with a variable, all but int8; a `Weight` has its own. Left out: f32. */
  readonly compute?: Compute | undefined;
}

/** A linear layer over one matrix, whatever its format; it owns none of its tensors. */
export class DenseLinear implements Linear {
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly transposedOnDisk: boolean;
  readonly weight: Weight | Tensor2D;
  readonly bias?: Tensor1D;
  /** The arithmetic of its products. */
  readonly compute: Compute;

  constructor({ name, weight, bias, transposedOnDisk, compute = 'f32' }: DenseLinearParts) {
    const [rows, cols] = weight instanceof Weight ? [weight.rows, weight.cols] : weight.shape;
    this.name = name;
    this.inFeatures = cols;
    this.outFeatures = rows;
    this.transposedOnDisk = transposedOnDisk;
    this.weight = weight;
    if (bias !== undefined) this.bias = bias;
    this.compute = weight instanceof Weight ? weight.compute : compute;
  }

  forward(x: Tensor, _context: ForwardContext, held?: Held): Tensor {
    if (isBf16(this.compute) && !(this.weight instanceof Weight)) {
      return roundedLinear(x, this.weight, this.bias, held);
    }
    return linear(x, this.weight, this.bias, held);
  }

  frozen(): LinearLayer | undefined {
    return this.weight instanceof Weight ? this : undefined;
  }

  variables(): readonly Variable[] {
    return trainable([this.weight, this.bias]);
  }
}

/** `frozen` of all layers, or undefined where one of them has none. */
export function allFrozen(
  linears: readonly Linear[],
  context: ForwardContext,
): readonly LinearLayer[] | undefined {
  const layers = linears.flatMap((layer) => layer.frozen(context) ?? []);
  return layers.length === linears.length ? layers : undefined;
}

/** Applies several linear layers to one input; in one pass where all are frozen. Results are held as `heldIn` says. */
export function forwardAll(
  linears: readonly Linear[],
  x: Tensor,
  context: ForwardContext,
): readonly Tensor[] {
  const held = heldIn(context, linears);
  const layers = allFrozen(linears, context);
  return layers
    ? mergedLinear(x, layers, held)
    : linears.map((layer) => layer.forward(x, context, held));
}

/** residual + layer(x); in one pass where the layer is frozen. */
export function forwardOnto(
  residual: Tensor3D,
  layer: Linear,
  x: Tensor,
  context: ForwardContext,
): Tensor3D {
  const frozen = layer.frozen(context);
  return frozen
    ? (linearResidual(x, frozen, residual) as Tensor3D)
    : addResidual(residual, layer.forward(x, context) as Tensor3D);
}

/** Those that are variables with gradients. */
export function trainable(values: readonly unknown[]): readonly Variable[] {
  return values.filter((value) => value instanceof Variable && value.trainable) as Variable[];
}

/** The arithmetic of products with a layer's weight. */
export function computeOfLinear(linear: Linear): Compute {
  if (linear.weight instanceof Weight) return linear.weight.compute;
  return linear instanceof DenseLinear ? linear.compute : 'f32';
}

/**
 * How the activations of a training are held that gradients keep, where they go into these layers, come out of them or
 * are made of what does: no more exactly than the layers multiply. The residual stream stays float32.
 */
export function heldIn({ training }: ForwardContext, linears: readonly Linear[]): Held {
  const rounds = training === true && linears.every((layer) => isBf16(computeOfLinear(layer)));
  return rounds ? 'bf16' : undefined;
}
