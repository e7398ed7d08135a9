import type { DecodeRow, DecodeSteps, DecodeStepsShape, DecodeText } from '../decode-steps.js';
import type { LayerCache } from '../layer-cache.js';
import type { Sampling } from '../sampling.js';
import * as tf from '../tfjs.js';
import type { StepHandle } from './addon-steps.js';
import type { DeviceInts } from './arrays.js';
import type { CudaBackend } from './cuda-backend.js';
import { NativeKvStore } from './native-kv-store.js';

/** Steps of decoding as captured graphs of a GPU. */
export class CudaSteps implements DecodeSteps {
  readonly ids: tf.Tensor2D;
  readonly positions: tf.Tensor2D;
  readonly firsts: ReadonlyMap<number | undefined, tf.Tensor2D>;
  readonly tableRows: tf.Tensor2D | undefined;
  readonly angles: DecodeSteps['angles'];
  readonly tables: readonly tf.Tensor[];
  recorded: true | string | undefined;
  readonly #backend: CudaBackend;
  readonly #shape: DecodeStepsShape;
  readonly #handle: StepHandle;
  readonly #steps: tf.Tensor;
  readonly #chosen: tf.Tensor;
  readonly #streams: tf.Tensor;
  readonly #behind: tf.Tensor;
  /** Of the seed. */
  readonly #drawKey: tf.Tensor;
  /** Penalty, temperature, top-k and top-p in float64. */
  readonly #settings: tf.Tensor;
  /** A byte for each id of each row, where the penalty asks for it. */
  readonly #seen: tf.Tensor | undefined;
  readonly #tensors: tf.Tensor[] = [];
  readonly #read: Int32Array;

  constructor(backend: CudaBackend, shape: DecodeStepsShape) {
    const { rows, capacity, vocabSize, numLayers, sampling, windows, tableOffset } = shape;
    this.#backend = backend;
    this.#shape = shape;
    this.#read = new Int32Array(rows);
    this.ids = this.#ints([rows, 1]);
    this.positions = this.#ints([rows, 1]);
    this.#steps = this.#ints([rows]);
    this.#chosen = this.#ints([rows]);
    this.#streams = this.#ints([rows]);
    this.#behind = this.#ints([rows]);
    this.#drawKey = this.#ints([1]);
    this.#settings = this.#ints([4 * 2]);
    if (sampling.penalizes) this.#seen = this.#ints([Math.ceil((rows * vocabSize) / 4)]);
    const tableLength = backend.addon.kvTableLength(rows, capacity);
    this.tables = Array.from({ length: numLayers }, () => this.#ints([tableLength]));
    const all = this.#ints<tf.Tensor2D>([rows, 1]);
    const firsts = windows.map((window) => [window, this.#ints<tf.Tensor2D>([rows, 1])] as const);
    this.firsts = new Map([[undefined, all], ...firsts]);
    this.tableRows = tableOffset === undefined ? undefined : this.#ints<tf.Tensor2D>([rows, 1]);
    this.#handle = backend.addon.newStep(
      backend.ints(this.ids),
      backend.ints(this.positions),
      backend.ints(this.#steps),
    );
    this.angles = this.#follow();
  }

  place({ rows, caches, sampling, drawKey }: DecodeText): void {
    this.#write(this.ids, (row) => row.id, rows);
    this.#write(this.positions, (row) => row.position, rows);
    this.#write(this.#steps, () => 0, rows);
    this.#write(this.#streams, (row) => row.stream, rows);
    this.#write(this.#behind, (row) => row.position + 1 - row.drawn, rows);
    this.#overwrite(this.#drawKey, Int32Array.of(drawKey));
    this.#overwrite(this.#settings, settingsOf(sampling));
    if (this.#seen !== undefined) this.#placeSeen(this.#seen, rows);
    caches.forEach((cache, layer) => {
      this.#findPages(cache, this.tables[layer] as tf.Tensor);
    });
    this.#backend.addon.placeStep(this.#handle);
  }

  record(step: () => void): true | string {
    const { addon } = this.#backend;
    addon.useStepArena(this.#handle);
    try {
      step();
      addon.markStep(this.#handle);
      this.recorded = this.#capture(step) ?? true;
      return this.recorded;
    } finally {
      addon.useStepArena(null);
    }
  }

  end(logits: tf.Tensor2D): void {
    // What the host has read of them belongs to this step.
    for (const tensor of this.#tensors) this.#backend.changing(tensor);
    this.#backend.addon.endStep(
      this.#handle,
      this.#backend.floats(logits),
      this.#backend.ints(this.#chosen),
      this.#seen ? this.#backend.ints(this.#seen) : null,
      this.#backend.ints(this.#settings),
      this.#shape.sampling.cutsTopK,
    );
  }

  replay(): void {
    this.#backend.addon.replayStep(this.#handle);
  }

  read(): Int32Array {
    this.#backend.addon.readStep(this.#handle, this.#read);
    return this.#read;
  }

  dispose(): void {
    this.#backend.addon.disposeStep(this.#handle);
    tf.dispose(this.#tensors);
  }

  /** Records what a run does that is the same as the one before it. @returns what stood in the way */
  #capture(step: () => void): string | undefined {
    const { addon } = this.#backend;
    const problemOf = (action: () => void): string | undefined => {
      try {
        action();
        return undefined;
      } catch (error) {
        return error instanceof Error ? error.message : String(error);
      }
    };
    addon.beginCapture(this.#handle);
    const problem = problemOf(step);
    const ended = problemOf(() => addon.endCapture(this.#handle));
    return problem ?? ended;
  }

  /** Tells the step what follows the positions. */
  #follow(): DecodeSteps['angles'] {
    const { rows, windows, tableOffset, angles: tables, sampling } = this.#shape;
    const backend = this.#backend;
    const { addon } = backend;
    const step = this.#handle;
    for (const window of windows) {
      addon.addStepWindow(step, window, backend.ints(this.firsts.get(window) as tf.Tensor));
    }
    if (this.tableRows) addon.setStepTable(step, tableOffset ?? 0, backend.ints(this.tableRows));
    if (sampling.draws) {
      const uniforms = this.#floats(new Float32Array(2 * rows), [rows, 2]);
      const [streams, behind] = [backend.ints(this.#streams), backend.ints(this.#behind)];
      const key = backend.ints(this.#drawKey);
      addon.setStepDraws(step, key, streams, behind, backend.floats(uniforms));
    }
    if (tables === undefined) return undefined;
    const { half } = tables;
    const table = (values: Float32Array) => this.#floats(values, [values.length / half, half]);
    const angle = () => this.#floats<tf.Tensor3D>(new Float32Array(rows * half), [rows, 1, half]);
    const [cosTable, sinTable, cos, sin] = [table(tables.cos), table(tables.sin), angle(), angle()];
    addon.setStepAngles(
      step,
      backend.floats(cosTable),
      backend.floats(sinTable),
      backend.floats(cos),
      backend.floats(sin),
    );
    return { cos, sin };
  }

  #write(to: tf.Tensor, value: (row: DecodeRow) => number, rows: readonly DecodeRow[]): void {
    this.#overwrite(to, Int32Array.from(rows, value));
  }

  #placeSeen(to: tf.Tensor, rows: readonly DecodeRow[]): void {
    const { vocabSize } = this.#shape;
    const bytes = new Uint8Array(to.size * 4);
    rows.forEach(({ seen }, row) => {
      for (const id of seen) if (id < vocabSize) bytes[row * vocabSize + id] = 1;
    });
    this.#overwrite(to, new Int32Array(bytes.buffer));
  }

  #findPages(cache: LayerCache, table: tf.Tensor): void {
    const { addon } = this.#backend;
    const { handle } = cache.store((shape) => new NativeKvStore(addon, shape));
    addon.writeKvTable(handle, this.#backend.ints(table));
  }

  #overwrite(to: tf.Tensor, values: Int32Array): void {
    this.#fill(this.#backend.ints(to), values);
  }

  #fill(to: DeviceInts, values: Int32Array): void {
    const { addon } = this.#backend;
    const staged = addon.upload(values);
    addon.copy(staged, to);
    addon.release(staged);
  }

  /** Zeros on the device. The host has no copy, which would not follow what kernels write. */
  #ints<T extends tf.Tensor>(shape: number[]): T {
    const length = tf.util.sizeFromShape(shape);
    const { info, values } = this.#backend.intOutput(shape, length);
    this.#fill(values, new Int32Array(length));
    return this.#own<T>(info);
  }

  #floats<T extends tf.Tensor>(from: Float32Array, shape: number[]): T {
    const { addon } = this.#backend;
    const { info, values } = this.#backend.output(shape, from.length);
    const staged = addon.upload(from);
    addon.copy(staged, values);
    addon.release(staged);
    return this.#own<T>(info);
  }

  #own<T extends tf.Tensor>(info: tf.TensorInfo): T {
    const tensor = tf.keep(tf.engine().makeTensorFromTensorInfo(info, this.#backend));
    this.#tensors.push(tensor);
    return tensor as T;
  }
}

/** As the device takes them, in int32. */
function settingsOf({ repetitionPenalty, temperature, topK, topP }: Sampling): Int32Array {
  return new Int32Array(Float64Array.of(repetitionPenalty, temperature, topK, topP).buffer);
}
