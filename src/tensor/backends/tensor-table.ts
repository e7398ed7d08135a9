import * as tf from '../tfjs.js';
import { CudaData } from './cuda-data.js';
import { NativeData } from './native-data.js';

/** tfjs's table of the data of all tensors, and an entry of it. */
type TrackedTable = ReturnType<typeof tf.engine>['state']['tensorInfo'];
export type Tracked = NonNullable<ReturnType<TrackedTable['get']>>;

/** Has tfjs use a {@link TensorTable}. */
export function useTensorTable(): void {
  const { state } = tf.engine();
  if (!(state.tensorInfo instanceof TensorTable)) {
    state.tensorInfo = new TensorTable(state.tensorInfo);
  }
}

/**
 * tfjs's table of the data of all tensors, where an entry of `native` and `cuda` is on the data itself: a look
 * into a WeakMap takes longer than the smaller kernels. Other entries stay in the table it replaces.
 */
class TensorTable implements TrackedTable {
  readonly [Symbol.toStringTag] = 'WeakMap';
  readonly #others: TrackedTable;

  constructor(others: TrackedTable) {
    this.#others = others;
  }

  has(dataId: object): boolean {
    return this.get(dataId) !== undefined;
  }

  get(dataId: object): Tracked | undefined {
    return isOwn(dataId) ? dataId.tracked : this.#others.get(dataId);
  }

  set(dataId: object, entry: Tracked): this {
    if (isOwn(dataId)) dataId.tracked = entry;
    else this.#others.set(dataId, entry);
    return this;
  }

  delete(dataId: object): boolean {
    if (!isOwn(dataId)) return this.#others.delete(dataId);
    const found = dataId.tracked !== undefined;
    dataId.tracked = undefined;
    return found;
  }
}

function isOwn(dataId: object): dataId is NativeData | CudaData {
  return dataId instanceof NativeData || dataId instanceof CudaData;
}
