import { type TensorInfo, util } from '../../tfjs.js';
import { type KernelTable, type NativeKernel, sizeOf } from './kernel.js';

const identity: NativeKernel = ({ inputs }, native) => {
  const x = inputs.x as TensorInfo;
  return native.share(x, x.shape);
};

const reshape: NativeKernel = ({ inputs, attrs }, native) => {
  const x = inputs.x as TensorInfo;
  const size = sizeOf(x.shape);
  const shape = util.inferFromImplicitShape((attrs as { shape: number[] }).shape, size);
  util.assert(
    sizeOf(shape) === size,
    () => `The new shape (${shape}) has ${sizeOf(shape)} elements and the old shape (${x.shape}) \
has ${size} elements. The new shape and old shape must have the same number of elements.`,
  );
  return native.share(x, shape);
};

const expandDims: NativeKernel = ({ inputs, attrs }, native) => {
  const input = inputs.input as TensorInfo;
  const { dim } = attrs as { dim: number };
  const rank = input.shape.length;
  util.assert(-rank - 1 <= dim && dim <= rank, () => `Axis must be in [${-rank - 1}, ${rank}]`);
  const shape = input.shape.slice();
  shape.splice(dim < 0 ? rank + dim + 1 : dim, 0, 1);
  return native.share(input, shape);
};

const MAX_TRANSPOSE_RANK = 6;

const transpose: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  const { perm } = attrs as { perm: number[] };
  const rank = x.shape.length;
  const empty = sizeOf(x.shape) === 0;
  if (x.dtype !== 'float32' || rank > MAX_TRANSPOSE_RANK || empty) return fallback();
  const shape = perm.map((axis) => x.shape[axis] as number);
  // Axes of length 1 may move freely: without them the order is often unchanged.
  const moving = perm.filter((axis) => x.shape[axis] !== 1);
  if (moving.every((axis, i) => i === 0 || (moving[i - 1] as number) < axis)) {
    return native.share(x, shape);
  }
  const values = native.floats(x);
  const y = native.output(shape, values.length);
  native.addon.transpose(values, y.values, x.shape, perm);
  return y.info;
};

/** Functions that see the same elements under another shape or in another order. */
export const viewKernels: KernelTable = {
  ExpandDims: expandDims,
  Identity: identity,
  Reshape: reshape,
  Transpose: transpose,
};
