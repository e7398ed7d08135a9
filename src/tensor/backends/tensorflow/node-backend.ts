import type * as tf from '../../tfjs.js';

/** What llmkit calls of tfjs_binding.node, the addon of tfjs-node. */
export interface TensorflowBinding {
  readonly TF_Version: string;
  readonly TF_ATTR_INT: number;
  readonly TF_ATTR_FLOAT: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_ATTR_STRING: number;
  isUsingGpuDevice(): boolean;
  deleteTensor(id: number): void;
}

/** An attribute of a TensorFlow op, of one of the binding's TF_ATTR types. */
export interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: number | boolean | string | readonly number[];
}

/** What tfjs-node keeps of a tensor: its number at TensorFlow, or values that wait to be written. */
interface NodeTensor {
  id: number;
  values: tf.backend_util.BackendValues | null;
}

/** What llmkit uses of tfjs-node's NodeJSKernelBackend. */
export interface NodeBackend extends tf.KernelBackend {
  readonly binding: TensorflowBinding;
  readonly tensorMap: { get(dataId: tf.DataId): NodeTensor };
  executeMultipleOutputs(
    name: string,
    attributes: readonly OpAttribute[],
    inputs: readonly tf.TensorInfo[],
    numOutputs: number,
  ): tf.Tensor[];
  /** Tensors that live at TensorFlow. */
  getNumOfTFTensors(): number;
}

/** NodeJSKernelBackend itself. */
export type NodeBackendClass = new (binding: TensorflowBinding, packageName: string) => NodeBackend;

/**
 * tfjs-node's backend, but with values of its own: it keeps a caller's array until an op wants it, and
 * hands out what it kept.
 */
export function owningBackend(
  Base: NodeBackendClass,
  binding: TensorflowBinding,
  packageName: string,
): NodeBackend {
  class OwningBackend extends Base {
    override write(values: tf.backend_util.BackendValues, shape: number[], dtype: tf.DataType) {
      return super.write(copyOf(values), shape, dtype);
    }

    override readSync(dataId: tf.DataId): tf.backend_util.BackendValues {
      const waits = this.tensorMap.get(dataId).values !== null;
      const values = super.readSync(dataId);
      return waits ? copyOf(values) : values;
    }

    override async read(dataId: tf.DataId): Promise<tf.backend_util.BackendValues> {
      return this.readSync(dataId);
    }
  }
  return new OwningBackend(binding, packageName);
}

/** tfjs leaves out the values of a complex tensor. */
function copyOf<T extends tf.backend_util.BackendValues>(values: T): T {
  return values?.slice() as T;
}
