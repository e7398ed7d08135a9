import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Row } from '../data/example.js';
import { LlmkitError } from '../errors.js';
import type { Decoder, ForwardOptions } from '../model/decoder.js';
import { valueAndGradients } from '../tensor/gradients.js';
import * as tf from '../tensor/tfjs.js';
import { type TokenBatch, toBatch } from './batch.js';
import { AdamW, type AdamWOptions, clipScale, globalNorm } from './optimizer.js';

/** What the trainer needs of a model. */
export type LanguageModel = Pick<Decoder, 'forward' | 'tokenLosses'>;

export interface TrainerOptions {
  readonly optimizer: AdamWOptions;
  /** Gradients are clipped to this norm over all of them; 0 = not. */
  readonly maxGradNorm: number;
  /** Recompute activations in the backward pass. */
  readonly checkpointing: boolean;
}

/** What one optimizer step runs with. */
export interface StepOptions {
  /** Counted from 0. */
  readonly step: number;
  readonly learningRate: number;
  /** Seeds the dropout masks; the same for a whole epoch. Left out: no dropout. */
  readonly dropoutSeed?: number;
}

/** What one optimizer step did. */
export interface StepResult {
  /** Mean over the trained tokens of the whole accumulated batch. */
  readonly loss: number;
  readonly trainedTokens: number;
  /** Before clipping. */
  readonly gradNorm: number;
}

/** Trains named variables of a model: pure of files, clocks and terminals. */
export class Trainer {
  readonly variables: ReadonlyMap<string, tf.Variable>;
  readonly optimizer: AdamW;
  private readonly model: LanguageModel;
  private readonly options: TrainerOptions;

  constructor(
    model: LanguageModel,
    variables: ReadonlyMap<string, tf.Variable>,
    options: TrainerOptions,
  ) {
    this.model = model;
    this.variables = variables;
    this.options = options;
    this.optimizer = new AdamW(variables, options.optimizer);
  }

  /**
   * One optimizer step over its micro-batches. The loss is the sum of all token losses over the
   * number of trained tokens of the step, so cutting the batch differently changes nothing.
   *
   * @throws LlmkitError `unsupported` when the loss or a gradient is not finite; the weights are
   *   then as they were before the step
   */
  step(microBatches: readonly (readonly Row[])[], options: StepOptions): StepResult {
    const batches = microBatches.map(toBatch);
    const trainedTokens = batches.reduce((sum, batch) => sum + batch.trainedTokens, 0);
    const gradients = new Map<string, tf.Tensor>();
    let loss = 0;
    for (const batch of batches) {
      loss += this.addGradients(batch, { gradients, trainedTokens, ...options });
    }
    const gradNorm = globalNorm(gradients.values());
    const finite = Number.isFinite(loss) && Number.isFinite(gradNorm);
    if (finite) {
      const gradientScale = clipScale(gradNorm, this.options.maxGradNorm);
      const { learningRate } = options;
      this.optimizer.apply(gradients, { step: options.step + 1, learningRate, gradientScale });
    }
    tf.dispose([...gradients.values()]);
    if (!finite) throw notFinite(microBatches.flat(), { ...options, loss, gradNorm });
    return { loss, trainedTokens, gradNorm };
  }

  /** Adds one micro-batch's share to the gradients. @returns its share of the loss */
  private addGradients(
    batch: TokenBatch,
    options: StepOptions & { gradients: Map<string, tf.Tensor>; trainedTokens: number },
  ): number {
    const { gradients, trainedTokens } = options;
    // Made outside the tape's scope: a recomputed block needs it again in the backward pass.
    const keys = tf.tensor2d(batch.keys, [batch.keys.length / 2, 2], 'int32');
    const forward = this.trainingForward(keys, options);
    const made = valueAndGradients(
      () => tf.div(this.lossSum(batch, forward), trainedTokens),
      [...this.variables.values()],
    );
    keys.dispose();
    for (const [i, name] of [...this.variables.keys()].entries()) {
      const gradient = made.gradients[i];
      if (!gradient) continue;
      const sum = gradients.get(name);
      gradients.set(name, sum ? tf.add(sum, gradient) : gradient);
      if (sum) tf.dispose([sum, gradient]);
    }
    const loss = made.value.dataSync()[0] ?? Number.NaN;
    made.value.dispose();
    return loss;
  }

  private trainingForward(keys: tf.Tensor2D, { dropoutSeed: seed }: StepOptions): ForwardOptions {
    const { checkpointing } = this.options;
    return seed === undefined
      ? { checkpointing }
      : { checkpointing, context: { dropout: { seed, keys } } };
  }

  private lossSum(batch: TokenBatch, options: ForwardOptions): tf.Scalar {
    const hidden = this.model.forward(batch.rows, options);
    const rows = tf.reshape(hidden, [-1, hidden.shape[2]]) as tf.Tensor2D;
    return tf.sum(this.model.tokenLosses(rows, tf.tensor1d(batch.targets, 'int32')));
  }

  /** Mean loss over the trained tokens of all batches, without dropout. */
  async evaluate(
    batches: readonly (readonly Row[])[],
  ): Promise<{ loss: number; trainedTokens: number }> {
    let [sum, trainedTokens] = [0, 0];
    for (const rows of batches) {
      const batch = toBatch(rows);
      const loss = tf.tidy(() => this.lossSum(batch, {}));
      sum += loss.dataSync()[0] ?? Number.NaN;
      trainedTokens += batch.trainedTokens;
      loss.dispose();
      await nextTurn(); // signals are delivered between turns
    }
    return { loss: sum / trainedTokens, trainedTokens };
  }

  dispose(): void {
    this.optimizer.dispose();
  }
}

const SHOWN_EXAMPLES = 8;

function notFinite(
  rows: readonly Row[],
  { step, loss, gradNorm }: { step: number; loss: number; gradNorm: number },
): LlmkitError {
  const places = rows.flat().map(({ index, where }) => `${index} (${where})`);
  const more = places.length - SHOWN_EXAMPLES;
  const shown = places.slice(0, SHOWN_EXAMPLES).join(', ') + (more > 0 ? ` and ${more} more` : '');
  return new LlmkitError(
    'unsupported',
    `step ${step + 1}: expected a finite loss and gradient, got loss ${loss} and gradient norm ${gradNorm}, ` +
      `on examples ${shown}; lower learning_rate or max_grad_norm, or look at these examples`,
  );
}
