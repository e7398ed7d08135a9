import { DenseLinear, type ForwardContext, type Linear } from '../../model/linear.js';
import {
  dropout,
  type Held,
  hold,
  type LinearLayer,
  linear,
  loraLinear,
} from '../../tensor/ops/index.js';
import {
  add,
  mul,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Variable,
} from '../../tensor/tfjs.js';
import { Weight } from '../../tensor/weight.js';

/** What is added to one linear layer. */
export interface LoraParts {
  /** [R, in] */
  readonly a: Variable;
  /** [out, R] */
  readonly b: Variable;
  /** [out] */
  readonly bias?: Variable;
  readonly scale: number;
  readonly dropout: {
    readonly rate: number /** Tells this layer's masks from others'. */;
    readonly stream: number;
  };
}

/** A linear layer with a low-rank branch beside it: y = inner(x) + scale · (B A dropout(x) + bias). */
export class LoraLinear implements Linear {
  readonly inner: Linear;
  readonly parts: LoraParts;
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly transposedOnDisk: boolean;
  readonly weight: Weight | Tensor2D;
  readonly bias?: Tensor1D;

  constructor(inner: Linear, parts: LoraParts) {
    this.inner = inner;
    this.parts = parts;
    this.name = inner.name;
    this.inFeatures = inner.inFeatures;
    this.outFeatures = inner.outFeatures;
    this.transposedOnDisk = inner.transposedOnDisk;
    this.weight = inner.weight;
    if (inner.bias) this.bias = inner.bias;
  }

  forward(x: Tensor, context: ForwardContext, held?: Held): Tensor {
    const { a, b, bias, scale } = this.parts;
    const dropped = this.#dropped(x, context);
    const { inner, weight } = this;
    if (inner instanceof DenseLinear && weight instanceof Weight && bias === undefined) {
      const pair = { a: a as Tensor2D, b: b as Tensor2D, scale };
      return loraLinear(x, { weight, bias: inner.bias, ...pair }, { dropped, held });
    }
    const low = mul(linear(dropped, a as Tensor2D), scale);
    const update = linear(low, b as Tensor2D, bias && mul<Tensor1D>(bias, scale));
    return hold(add(this.inner.forward(x, context), update), held);
  }

  frozen(context: ForwardContext): LinearLayer | undefined {
    const { a, b, bias, scale } = this.parts;
    const inner = this.inner.frozen(context);
    if (!inner || inner.update || bias || this.#drops(context)) return undefined;
    const update = { a: a as Tensor2D, b: b as Tensor2D, scale };
    return { weight: inner.weight, bias: inner.bias, update };
  }

  variables(): readonly Variable[] {
    const { a, b, bias } = this.parts;
    return [...this.inner.variables(), a, b, ...(bias ? [bias] : [])];
  }

  #drops({ dropout: training }: ForwardContext): boolean {
    return training !== undefined && this.parts.dropout.rate > 0;
  }

  #dropped(x: Tensor, context: ForwardContext): Tensor {
    const { rate, stream } = this.parts.dropout;
    const { dropout: training } = context;
    return training && this.#drops(context) ? dropout(x, { ...training, rate, stream }) : x;
  }
}
