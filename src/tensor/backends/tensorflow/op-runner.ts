import type { LayerCache } from '../../layer-cache.js';
import type { Tensor, TensorInfo } from '../../tfjs.js';
import type { Weight } from '../../weight.js';
import type { NodeBackend, OpAttribute } from './node-backend.js';
import { NumberedKvStore } from './numbered-kv-store.js';
import { type OpAddon, type TensorflowDevice, WeightNumbers } from './op-library.js';

/** The number of a weight that is trained: it comes as an input. */
const TRAINED = -1;

/** Runs llmkit's ops through tfjs-node. */
export class OpRunner {
  readonly #backend: NodeBackend;
  readonly #addon: OpAddon;
  readonly #numbers: WeightNumbers;
  /** Stands for an input that is left out. */
  readonly #nothing: TensorInfo;

  constructor(backend: NodeBackend, addon: OpAddon, device: TensorflowDevice) {
    this.#backend = backend;
    this.#addon = addon;
    this.#numbers = new WeightNumbers(addon, device);
    this.#nothing = this.#tensor(new Float32Array(0), 'float32');
  }

  integer(name: string, value: number): OpAttribute {
    return { name, type: this.#backend.binding.TF_ATTR_INT, value };
  }

  integers(name: string, value: readonly number[]): OpAttribute {
    return { name, type: this.#backend.binding.TF_ATTR_INT, value };
  }

  real(name: string, value: number): OpAttribute {
    return { name, type: this.#backend.binding.TF_ATTR_FLOAT, value };
  }

  reals(name: string, value: readonly number[]): OpAttribute {
    return { name, type: this.#backend.binding.TF_ATTR_FLOAT, value };
  }

  flag(name: string, value: boolean): OpAttribute {
    return { name, type: this.#backend.binding.TF_ATTR_BOOL, value };
  }

  /** The attribute that names the frozen weight of a call; it is packed with the first call. */
  weight(attrs: { readonly weight?: Weight }): OpAttribute[] {
    const { weight } = attrs;
    return [this.integer('weight', weight === undefined ? TRAINED : this.#numbers.of(weight))];
  }

  /** The same of several. */
  weights(weights: readonly Weight[]): OpAttribute {
    return this.integers(
      'weights',
      weights.map((weight) => this.#numbers.of(weight)),
    );
  }

  /** The op library's form of a cache. */
  store(cache: LayerCache): NumberedKvStore {
    return cache.store((shape) => new NumberedKvStore(this.#addon, shape));
  }

  /** An int32 tensor that the op library makes of the values of x. */
  intsOf(x: TensorInfo, make: (addon: OpAddon, values: Float32Array) => Int32Array): TensorInfo {
    return this.#tensor(
      make(this.#addon, this.#backend.readSync(x.dataId) as Float32Array),
      'int32',
    );
  }

  /** Runs an op of so many outputs. */
  run(
    name: string,
    inputs: readonly (TensorInfo | undefined)[],
    attributes: readonly OpAttribute[],
    numOutputs: number,
  ): Tensor[] {
    const given = inputs.map((input) => input ?? this.#nothing);
    return this.#backend.executeMultipleOutputs(name, attributes, given, numOutputs);
  }

  /** Runs an op of one output. */
  runOne(
    name: string,
    inputs: readonly (TensorInfo | undefined)[],
    attributes: readonly OpAttribute[],
  ): Tensor {
    return this.run(name, inputs, attributes, 1)[0] as Tensor;
  }

  /** Runs an op some of whose outputs may be left out: these are empty, and are not returned. */
  runFilled(
    name: string,
    inputs: readonly (TensorInfo | undefined)[],
    attributes: readonly OpAttribute[],
    numOutputs: number,
  ): Tensor[] {
    const outputs = this.run(name, inputs, attributes, numOutputs);
    for (const output of outputs) if (output.size === 0) output.dispose();
    return outputs.filter(({ isDisposed }) => !isDisposed);
  }

  /** Lends an int32 tensor of these values to `use`. */
  withInts<T>(values: Int32Array, use: (tensor: TensorInfo) => T): T {
    const tensor = this.#tensor(values, 'int32');
    try {
      return use(tensor);
    } finally {
      this.#backend.disposeData(tensor.dataId);
    }
  }

  /** Gives tensors the values of others of their shapes, which are disposed of. */
  replace(tensors: readonly TensorInfo[], by: readonly Tensor[]): void {
    tensors.forEach((tensor, i) => {
      const [old, next] = [tensor, by[i] as Tensor].map(({ dataId }) =>
        this.#backend.tensorMap.get(dataId),
      );
      if (old === undefined || next === undefined) return;
      [old.id, next.id] = [next.id, old.id];
      (by[i] as Tensor).dispose();
    });
  }

  #tensor(values: Float32Array | Int32Array, dtype: 'float32' | 'int32'): TensorInfo {
    const shape = [values.length];
    return { dataId: this.#backend.write(values, shape, dtype), shape, dtype };
  }
}

/** The bits of doubles as pairs of int32. */
export function doubleBits(values: readonly number[]): Int32Array {
  return new Int32Array(Float64Array.from(values).buffer);
}
