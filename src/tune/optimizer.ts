import {
  adamw,
  adamw8bit,
  newRoundedMoments,
  type RoundedMoments,
  roundedMomentBytes,
} from '../tensor/ops/index.js';
import * as tf from '../tensor/tfjs.js';

export interface AdamWOptions {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Which parameters decay; by default every matrix (see `decaysByDefault`). */
  readonly decays?: (name: string, parameter: tf.Variable) => boolean;
  /** Whose states are kept in 8 bits; left out: nobody's. */
  readonly isRounded?: ((name: string, parameter: tf.Variable) => boolean) | undefined;
}

/** Running means of one parameter, of its shape. */
interface FloatMoments {
  readonly m: tf.Variable;
  readonly v: tf.Variable;
}

/** What is remembered of one parameter between two steps. */
type Moments = FloatMoments | RoundedMoments;

/** Smaller parameters keep float32 states, as in bitsandbytes. */
const FEWEST_ROUNDED = 4096;

/** Whether 8-bit AdamW has a parameter's states in 8 bits: not a table's, as in transformers. */
export function roundsStates(size: number, role: string): boolean {
  return size >= FEWEST_ROUNDED && role !== 'embedding';
}

/** Bytes of the states of a parameter of so many elements. */
export function stateBytes(size: number, isRounded: boolean): number {
  return isRounded ? roundedMomentBytes(size) : 2 * 4 * size;
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
    const { isRounded = () => false } = options;
    this.moments = new Map(
      [...parameters].map(([name, parameter]) => {
        const onMade = (state: tf.Variable) => onState(name, state);
        const { shape, size } = parameter;
        const rounded = isRounded(name, parameter);
        return [name, rounded ? newRoundedMoments(size, onMade) : newMoments(shape, onMade)];
      }),
    );
  }

  /** All that the optimizer remembers, by its name in a checkpoint: `m/NAME`, `v/NAME` and scales. */
  *states(): Generator<[name: string, state: tf.Variable]> {
    for (const [name, moments] of this.moments) {
      for (const [kind, state] of Object.entries(moments)) yield [`${kind}/${name}`, state];
    }
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
    const { weightDecay, decays = decaysByDefault, beta1, beta2, eps } = this.options;
    for (const [name, gradient] of gradients) {
      const [parameter, moments] = [this.parameters.get(name), this.moments.get(name)];
      if (!parameter || !moments) continue;
      const decay = decays(name, parameter) ? weightDecay : 0;
      const hyper = { beta1, beta2, eps, ...at, weightDecay: decay };
      if ('mScales' in moments) adamw8bit({ parameter, gradient, ...moments }, hyper);
      else adamw({ parameter, gradient, ...moments }, hyper);
    }
  }

  dispose(): void {
    for (const [, state] of this.states()) state.dispose();
  }
}

function newMoments(shape: number[], onMade: (state: tf.Variable) => void): FloatMoments {
  const zeros = () => {
    const made = tf.tidy(() => tf.variable(tf.zeros(shape), false));
    onMade(made);
    return made;
  };
  return { m: zeros(), v: zeros() };
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
