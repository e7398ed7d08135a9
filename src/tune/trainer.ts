import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Row } from '../data/example.js';
import { LlmkitError } from '../errors.js';
import type { Decoder, ForwardOptions } from '../model/decoder.js';
import { deviceMemory } from '../tensor/backends/device-memory.js';
import { valueAndGradients } from '../tensor/gradients.js';
import * as tf from '../tensor/tfjs.js';
import { type TokenBatch, toBatch } from './batch.js';
import { AdamW, type AdamWOptions, clipScale, globalNorm } from './optimizer.js';
import type { Paging } from './paging.js';

/** What the trainer needs of a model. */
export type LanguageModel = Pick<Decoder, 'forward' | 'tokenLosses'>;

export interface TrainerOptions {
  readonly optimizer: AdamWOptions;
  /** Gradients are clipped to this norm over all of them; 0 = not. */
  readonly maxGradNorm: number;
  /** Recompute activations in the backward pass. */
  readonly checkpointing: boolean;
  /** What does not fit into the device's memory. */
  readonly paging?: Paging | undefined;
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
    const states = options.paging?.states;
    this.optimizer = new AdamW(variables, options.optimizer, (name, state) => {
      if (states?.has(name)) deviceMemory()?.page(state);
    });
  }

  /**
   * One optimizer step over its micro-batches. The loss is the sum of all token losses over the
   * number of trained tokens of the step, so cutting the batch differently changes nothing.
   *
   * @throws LlmkitError `unsupported` when the loss or a gradient is not finite; the weights are
   *   then as they were before the step
   */
  step(microBatches: readonly (readonly Row[])[], options: StepOptions): StepResult {
    this.keepPaged();
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

  /** Sends home what belongs on the host: values that were put in since the last step, of a checkpoint, may not be. */
  private keepPaged(): void {
    const { paging } = this.options;
    const memory = deviceMemory();
    if (!paging || !memory) return;
    for (const name of paging.weights) memory.page(this.variables.get(name) as tf.Variable);
    for (const name of paging.states) {
      for (const state of Object.values(this.optimizer.moments.get(name) ?? {})) memory.page(state);
    }
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
      { onGradient: this.gradientPager() },
    );
    keys.dispose();
    for (const [i, name] of [...this.variables.keys()].entries()) {
      const gradient = made.gradients[i];
      if (!gradient) continue;
      const before = gradients.get(name);
      const sum = before ? tf.add(before, gradient) : gradient;
      gradients.set(name, sum);
      if (before) tf.dispose([before, gradient]);
      if (this.options.paging?.gradients.has(name)) deviceMemory()?.page(sum);
    }
    const loss = made.value.dataSync()[0] ?? Number.NaN;
    made.value.dispose();
    return loss;
  }

  /** Sends the gradients home that belong on the host, as soon as they are there. */
  private gradientPager(): ((x: tf.Tensor, gradient: tf.Tensor) => void) | undefined {
    const memory = deviceMemory();
    const names = this.options.paging?.gradients;
    if (!memory || !names || names.size === 0) return undefined;
    const ids = new Set([...names].map((name) => this.variables.get(name)?.id));
    return ({ id }, gradient) => {
      if (ids.has(id)) memory.page(gradient);
    };
  }

  private trainingForward(keys: tf.Tensor2D, { dropoutSeed: seed }: StepOptions): ForwardOptions {
    const { checkpointing } = this.options;
    const dropout = seed === undefined ? {} : { dropout: { seed, keys } };
    return { checkpointing, context: { training: true, ...dropout } };
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
      const loss = tf.tidy(() => this.lossSum(batch, { context: { training: true } }));
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
