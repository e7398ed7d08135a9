import { adamw } from '../tensor/ops/index.js';
import * as tf from '../tensor/tfjs.js';

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Which parameters decay; by default every matrix (see `decaysByDefault`). */
  readonly decays?: (name: string, parameter: tf.Variable) => boolean;
}

/** Values of one parameter between two steps. */
interface Moments {
  readonly m: tf.Variable;
  readonly v: tf.Variable;
}

/**
 * transformers' groups: matrices decay, LoRA's A and B among them; norms and biases, which are
 * vectors, do not.
 */
export function decaysByDefault(_name: string, parameter: tf.Variable): boolean {
  return parameter.rank >= 2;
}

/** AdamW over named parameters, each updated in place by one fused kernel. */
export class AdamW {
  readonly moments: ReadonlyMap<string, Moments>;
  private readonly parameters: ReadonlyMap<string, tf.Variable>;
  private readonly options: AdamWOptions;

  /** @param onState told of each tensor that is made, by the parameter's name */
  constructor(
    parameters: ReadonlyMap<string, tf.Variable>,
    options: AdamWOptions,
    onState: (name: string, state: tf.Variable) => void = () => undefined,
  ) {
    this.parameters = parameters;
    this.options = options;
    const state = (name: string, { shape }: tf.Variable) => {
      const made = zeros(shape);
      onState(name, made);
      return made;
    };
    this.moments = new Map(
      [...parameters].map(([name, of]) => [name, { m: state(name, of), v: state(name, of) }]),
    );
  }

  /**
   * One update.
   *
   * @param gradients by parameter name; a parameter without one stays as it is
   * @param at.step counted from 1
   * @param at.gradientScale factor on every gradient (clipping)
   */
  apply(
    gradients: ReadonlyMap<string, tf.Tensor>,
    at: { step: number; learningRate: number; gradientScale: number },
  ): void {
    const { weightDecay, decays = decaysByDefault, ...betas } = this.options;
    for (const [name, gradient] of gradients) {
      const [parameter, moments] = [this.parameters.get(name), this.moments.get(name)];
      if (!parameter || !moments) continue;
      const decay = decays(name, parameter) ? weightDecay : 0;
      adamw({ parameter, gradient, ...moments }, { ...betas, ...at, weightDecay: decay });
    }
  }

  dispose(): void {
    for (const { m, v } of this.moments.values()) {
      m.dispose();
      v.dispose();
    }
  }
}

function zeros(shape: number[]): tf.Variable {
  return tf.tidy(() => tf.variable(tf.zeros(shape), false));
}

/** The 2-norm over all gradients together. Read once: a read waits for all that a GPU has to do. */
export function globalNorm(gradients: Iterable<tf.Tensor>): number {
  const squares = tf.tidy(() => {
    const sums = [...gradients].map((gradient) => tf.tidy(() => tf.sum(tf.square(gradient))));
    return sums.length === 0 ? tf.zeros([0]) : tf.stack(sums);
  });
  let sum = 0;
  for (const square of squares.dataSync()) sum += square;
  squares.dispose();
  return Math.sqrt(sum);
}

/** torch's clip_grad_norm_: the factor that brings a norm down to at most `maxNorm`; 0 = no limit. */
export function clipScale(norm: number, maxNorm: number): number {
  return maxNorm === 0 ? 1 : Math.min(1, maxNorm / (norm + 1e-6));
}
