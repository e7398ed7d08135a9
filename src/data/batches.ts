import type { Row } from './example.js';
import { shuffledIndices } from './random.js';

export interface BatchOptions {
  /** Rows of a micro-batch, which go through the model together. */
  readonly batchSize: number;
  /** Micro-batches of one optimizer step. */
  readonly accumulation: number;
  readonly seed: number;
  readonly shuffle: boolean;
}

/** Which rows each optimizer step sees: a function of the step alone, so a run resumes anywhere. */
export class BatchPlan {
  /** The last step of an epoch takes what is left. */
  readonly stepsPerEpoch: number;
  private readonly rows: readonly Row[];
  private readonly options: BatchOptions;
  private order: { readonly epoch: number; readonly indices: Int32Array } | undefined;

  constructor(rows: readonly Row[], options: BatchOptions) {
    this.rows = rows;
    this.options = options;
    this.stepsPerEpoch = Math.ceil(rows.length / (options.batchSize * options.accumulation));
  }

  /** The micro-batches of a step, counted from 0 over all epochs. */
  step(step: number): Row[][] {
    const { batchSize, accumulation } = this.options;
    const epoch = this.epochOf(step);
    const start = (step - epoch * this.stepsPerEpoch) * batchSize * accumulation;
    const picked = this.epochOrder(epoch).slice(start, start + batchSize * accumulation);
    return inBatches(
      Array.from(picked, (i) => this.rows[i] as Row),
      batchSize,
    );
  }

  epochOf(step: number): number {
    return Math.floor(step / this.stepsPerEpoch);
  }

  private epochOrder(epoch: number): Int32Array {
    if (this.order?.epoch !== epoch) {
      const { seed, shuffle } = this.options;
      const length = this.rows.length;
      const indices = shuffle
        ? shuffledIndices(length, seed, epoch)
        : Int32Array.from({ length }, (_, i) => i);
      this.order = { epoch, indices };
    }
    return this.order.indices;
  }
}

/** Cuts a list into pieces of a size, the last one shorter. */
export function inBatches<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );
}
