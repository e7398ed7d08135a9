import { type TensorInfo, util } from '../../tfjs.js';
import type { ReduceOp } from '../addon.js';
import { type KernelTable, type NativeKernel, sizeOf, sizeOfAxes } from './kernel.js';

/** Max names its axes in another way than Sum and Mean. */
interface ReduceAttrs {
  readonly axis: number | number[];
  readonly reductionIndices?: number | number[];
  readonly keepDims: boolean;
}

const reduce =
  (op: ReduceOp): NativeKernel =>
  ({ inputs, attrs }, native, fallback) => {
    const x = inputs.x as TensorInfo;
    const { axis, reductionIndices = axis, keepDims } = attrs as ReduceAttrs;
    const axes = util.parseAxisParam(reductionIndices, x.shape);
    const start = Math.min(...axes);
    const end = start + axes.length;
    const empty = sizeOf(x.shape) === 0 || axes.length === 0;
    const adjacent = axes.every((axis) => axis < end);
    if (x.dtype !== 'float32' || empty || !adjacent) return fallback();
    const outer = sizeOfAxes(x.shape, 0, start);
    const inner = sizeOfAxes(x.shape, end);
    const kept = x.shape.flatMap((length, axis) => {
      if (axis < start || axis >= end) return [length];
      return keepDims ? [1] : [];
    });
    const y = native.output(kept, outer * inner);
    const middle = sizeOfAxes(x.shape, start, end);
    native.addon.reduce(op, native.floats(x), y.values, middle, inner);
    return y.info;
  };

const argMax: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  const [axis = 0] = util.parseAxisParam((attrs as { axis: number }).axis, x.shape);
  const cols = x.shape[axis] ?? 0;
  if (x.dtype !== 'float32' || axis !== x.shape.length - 1 || cols === 0) return fallback();
  const values = native.floats(x);
  const y = native.intOutput(x.shape.slice(0, axis), values.length / cols);
  native.addon.argmax(values, y.values, cols);
  return y.info;
};

const softmax: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const logits = inputs.logits as TensorInfo;
  const { dim } = attrs as { dim: number };
  const cols = logits.shape[logits.shape.length - 1] ?? 0;
  if (logits.dtype !== 'float32' || dim !== logits.shape.length - 1 || cols === 0) {
    return fallback();
  }
  const values = native.floats(logits);
  const y = native.output(logits.shape, values.length);
  native.addon.softmax(values, y.values, cols);
  return y.info;
};

/** Functions that sum or choose along axes. */
export const reductionKernels: KernelTable = {
  ArgMax: argMax,
  Max: reduce('max'),
  Mean: reduce('mean'),
  Softmax: softmax,
  Sum: reduce('sum'),
};
