import { type Recorded, record } from '../tensor/backends/recorded.js';
import { int32 } from '../tensor/ops/index.js';
import {
  dispose,
  keep,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  type Tensor3D,
  tensor3d,
} from '../tensor/tfjs.js';
import type { Batch, PassTokens, TokenValues, Visibility } from './batch.js';
import { sameItems } from './kept.js';

/**
 * Steps of decoding, one token per row, run without JavaScript where the backend can: the step is
 * recorded once and then only run again, with the tokens of the day in its tensors.
 */
export class RecordedStep {
  #tokens: StepTokens | undefined;
  #recorded: Recorded | undefined;
  /** Rows and layers of the steps so far. */
  #size = 0;
  #layers: readonly object[] = [];
  #steps = 0;

  /**
   * @param layers what the step is made of
   * @param run the step
   * @returns what the step gives, until the next one; undefined where it has to be run in the usual way
   */
  forward(
    batch: Batch,
    layers: readonly object[],
    run: (tokens: PassTokens) => Tensor2D,
  ): Tensor2D | undefined {
    if (batch.size !== this.#size || !sameItems(layers, this.#layers)) this.dispose();
    this.#size = batch.size;
    this.#layers = layers;
    if (this.#recorded) return this.#again(this.#recorded, batch);
    // The first step of a kind makes what the others find: caches, packed weights.
    return ++this.#steps === 2 ? this.#first(batch, run) : undefined;
  }

  dispose(): void {
    this.#recorded?.dispose();
    this.#tokens?.dispose();
    this.#recorded = undefined;
    this.#tokens = undefined;
    this.#steps = 0;
  }

  #first(batch: Batch, run: (tokens: PassTokens) => Tensor2D): Tensor2D | undefined {
    const tokens = new StepTokens(batch);
    this.#tokens = tokens;
    this.#recorded = record(() => run(tokens));
    if (this.#recorded) return this.#recorded.result() as Tensor2D;
    tokens.dispose();
    this.#tokens = undefined;
    return undefined;
  }

  #again(recorded: Recorded, batch: Batch): Tensor2D | undefined {
    this.#tokens?.place(batch.values(), recorded);
    if (recorded.run()) return recorded.result() as Tensor2D;
    this.dispose();
    return undefined;
  }
}

/** The tokens of a step in tensors that stay where they are from step to step. */
class StepTokens implements PassTokens {
  readonly #ids: Tensor2D;
  readonly #last: Tensor2D;
  readonly #firsts: ReadonlyMap<number | undefined, Tensor2D>;
  readonly #angles: { readonly cos: Tensor3D; readonly sin: Tensor3D } | undefined;
  readonly #positions: Tensor1D;
  /** By offset. */
  readonly #positionRows = new Map<number, Tensor2D>();
  /** The batch of the first step. */
  readonly #first: Batch;

  constructor(batch: Batch) {
    this.#first = batch;
    const { ids, positions, lasts, firsts, angles } = batch.values();
    const { size } = batch;
    const row = (values: Int32Array) => keep(int32(values, [size, 1]) as Tensor2D);
    this.#ids = row(ids);
    this.#last = row(lasts);
    this.#firsts = new Map([...firsts].map(([window, first]) => [window, row(first)]));
    this.#positions = keep(int32(positions, [size]) as Tensor1D);
    if (angles === undefined) return;
    const table = (values: Float32Array) => keep(tensor3d(values, [size, 1, values.length / size]));
    this.#angles = { cos: table(angles.cos), sin: table(angles.sin) };
  }

  idTensor(): Tensor2D {
    return this.#ids;
  }

  positionRows(offset: number): Tensor2D {
    const shifted = this.#first.positions.map((position) => position + offset);
    const rows = keep(int32(shifted, [this.#first.size, 1]) as Tensor2D);
    this.#positionRows.set(offset, rows);
    return rows;
  }

  visibility(): Visibility {
    const angles = this.#angles;
    const visible = { last: this.#last, firsts: this.#firsts, positions: this.#positions };
    return { ...visible, ...(angles && { angles }) };
  }

  /** Puts in the tokens of another step. */
  place({ ids, positions, lasts, firsts, angles }: TokenValues, recorded: Recorded): void {
    recorded.set(this.#ids, ids);
    recorded.set(this.#positions, positions);
    recorded.set(this.#last, lasts);
    for (const [window, first] of this.#firsts) {
      recorded.set(first, firsts.get(window) as Int32Array);
    }
    for (const [offset, rows] of this.#positionRows) {
      recorded.set(
        rows,
        positions.map((position) => position + offset),
      );
    }
    if (this.#angles === undefined || angles === undefined) return;
    recorded.set(this.#angles.cos, angles.cos);
    recorded.set(this.#angles.sin, angles.sin);
  }

  dispose(): void {
    dispose([...this.#tensors()]);
  }

  *#tensors(): Iterable<Tensor> {
    yield* [this.#ids, this.#last, this.#positions];
    yield* this.#firsts.values();
    yield* this.#positionRows.values();
    if (this.#angles) yield* [this.#angles.cos, this.#angles.sin];
  }
}
