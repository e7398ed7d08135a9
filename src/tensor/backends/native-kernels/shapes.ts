import { backend_util, type DataType, slice_util, type TensorInfo, util } from '../../tfjs.js';
import type { NativeBackend, Values } from '../native-backend.js';
import { type KernelTable, type NativeKernel, sizeOf, sizeOfAxes } from './kernel.js';
import { copyBlock, stridesOf } from './strided-copy.js';

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

/** Whether a tensor is an array of numbers: not a string, not a pair of tensors. */
function isNumeric(x: TensorInfo): boolean {
  return x.dtype !== 'string' && x.dtype !== 'complex64';
}

/** A tensor of any content, of any dtype that is an array of numbers. */
function newTensor(native: NativeBackend, shape: number[], dtype: DataType) {
  const length = sizeOf(shape);
  if (dtype === 'float32') return native.output(shape, length);
  const values: Values = dtype === 'int32' ? new Int32Array(length) : new Uint8Array(length);
  return { info: native.adopt(shape, dtype, values), values };
}

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

const slice: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  if (!isNumeric(x)) return fallback();
  const { begin, size } = attrs as { begin: number | number[]; size: number | number[] };
  const [starts, shape] = slice_util.parseSliceParams(x as never, begin, size) as [
    number[],
    number[],
  ];
  slice_util.assertParamsValid(x as never, starts, shape);
  return sliceOf(native, x, starts, shape);
};

function sliceOf(native: NativeBackend, x: TensorInfo, starts: number[], shape: number[]) {
  const y = newTensor(native, shape, x.dtype);
  const strides = stridesOf(x.shape);
  const start = starts.reduce((sum, begin, axis) => sum + begin * (strides[axis] as number), 0);
  const target = { values: y.values, start: 0, strides: stridesOf(shape) };
  copyBlock({ values: native.values(x), start, strides }, target, shape);
  return y.info;
}

const splitV: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  if (!isNumeric(x)) return fallback();
  const { numOrSizeSplits, axis } = attrs as {
    numOrSizeSplits: number[] | number;
    axis: number;
  };
  const [along = 0] = util.parseAxisParam(axis, x.shape);
  const sizes = backend_util.prepareSplitSize(x as never, numOrSizeSplits, along);
  const starts = x.shape.map(() => 0);
  return sizes.map((length) => {
    const shape = x.shape.slice();
    shape[along] = length;
    const part = sliceOf(native, x, starts, shape);
    starts[along] = (starts[along] as number) + length;
    return part;
  });
};

const concat: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const all = Object.values(inputs);
  const parts = all.filter((x) => sizeOf(x.shape) > 0);
  const [first] = parts;
  const sameDtype = parts.every((x) => x.dtype === first?.dtype);
  if (first === undefined || !sameDtype || !isNumeric(first)) return fallback();
  const [axis = 0] = util.parseAxisParam((attrs as { axis: number }).axis, first.shape);
  backend_util.assertParamsConsistent(
    all.map((x) => x.shape),
    axis,
  );
  if (parts.length === 1) return native.share(first, first.shape);
  const shape = first.shape.slice();
  shape[axis] = parts.reduce((sum, x) => sum + (x.shape[axis] as number), 0);
  return joined(native, parts, { shape, axis });
};

function joined(
  native: NativeBackend,
  parts: readonly TensorInfo[],
  { shape, axis }: { readonly shape: number[]; readonly axis: number },
): TensorInfo {
  const y = newTensor(native, shape, (parts[0] as TensorInfo).dtype);
  const strides = stridesOf(shape);
  let start = 0;
  for (const x of parts) {
    const source = { values: native.values(x), start: 0, strides: stridesOf(x.shape) };
    copyBlock(source, { values: y.values, start, strides }, x.shape);
    start += (x.shape[axis] as number) * (strides[axis] as number);
  }
  return y.info;
}

const pack: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const parts = Object.values(inputs);
  const first = parts[0] as TensorInfo;
  const { axis } = attrs as { axis: number };
  const alike = parts.every(
    (x) => x.dtype === first.dtype && util.arraysEqual(x.shape, first.shape),
  );
  if (!alike || !isNumeric(first) || axis < 0) return fallback();
  const unit = first.shape.slice();
  unit.splice(axis, 0, 1);
  const shape = unit.slice();
  shape[axis] = parts.length;
  return joined(
    native,
    parts.map(({ dataId, dtype }) => ({ dataId, dtype, shape: unit })),
    { shape, axis },
  );
};

const unpack: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const value = inputs.value as TensorInfo;
  if (!isNumeric(value)) return fallback();
  const { axis } = attrs as { axis: number };
  const along = axis < 0 ? axis + value.shape.length : axis;
  const unit = value.shape.map((length, i) => (i === along ? 1 : length));
  const shape = value.shape.filter((_, i) => i !== along);
  return Array.from({ length: value.shape[along] as number }, (_, i) => {
    const starts = value.shape.map((_, axis) => (axis === along ? i : 0));
    return { ...sliceOf(native, value, starts, unit), shape };
  });
};

const pad: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  if (!isNumeric(x)) return fallback();
  const { paddings, constantValue } = attrs as {
    paddings: [number, number][];
    constantValue: number;
  };
  const shape = x.shape.map(
    (length, i) => length + (paddings[i]?.[0] ?? 0) + (paddings[i]?.[1] ?? 0),
  );
  const y = newTensor(native, shape, x.dtype);
  y.values.fill(constantValue);
  const strides = stridesOf(shape);
  const start = paddings.reduce((sum, [before], i) => sum + before * (strides[i] as number), 0);
  const source = { values: native.values(x), start: 0, strides: stridesOf(x.shape) };
  copyBlock(source, { values: y.values, start, strides }, x.shape);
  return y.info;
};

const tile: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  if (!isNumeric(x)) return fallback();
  const { reps } = attrs as { reps: number[] };
  // Each axis of the result is two: the repetition, which does not move in x, and x's own.
  const strides = stridesOf(x.shape);
  const shape = x.shape.map((length, i) => length * (reps[i] as number));
  const y = newTensor(native, shape, x.dtype);
  copyBlock(
    { values: native.values(x), start: 0, strides: strides.flatMap((stride) => [0, stride]) },
    {
      values: y.values,
      start: 0,
      strides: stridesOf(shape).flatMap((stride, i) => [stride * (x.shape[i] as number), stride]),
    },
    x.shape.flatMap((length, i) => [reps[i] as number, length]),
  );
  return y.info;
};

const gather: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  const indices = inputs.indices as TensorInfo;
  const { axis, batchDims } = attrs as { axis: number; batchDims: number };
  const [along = 0] = util.parseAxisParam(axis, x.shape);
  if (x.dtype !== 'float32' || indices.dtype !== 'int32' || batchDims !== 0) return fallback();
  const ids = native.ints(indices);
  const length = x.shape[along] as number;
  const wrong = ids.find((id) => id < 0 || id >= length);
  util.assert(
    wrong === undefined,
    () => `GatherV2: the index value ${wrong} is not in [0, ${length - 1}]`,
  );
  const outer = sizeOfAxes(x.shape, 0, along);
  const inner = sizeOfAxes(x.shape, along + 1);
  const shape = [...x.shape.slice(0, along), ...indices.shape, ...x.shape.slice(along + 1)];
  const y = native.output(shape, outer * ids.length * inner);
  if (y.values.length > 0) native.addon.gather(native.floats(x), ids, y.values, length, inner);
  return y.info;
};

const segmentSum: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  const segmentIds = inputs.segmentIds as TensorInfo;
  const { numSegments } = attrs as { numSegments: number };
  const ids = native.ints(segmentIds);
  const inside = ids.every((id) => id >= 0 && id < numSegments);
  if (x.dtype !== 'float32' || !inside || ids.length === 0) return fallback();
  const cols = sizeOf(x.shape) / ids.length;
  const shape = [numSegments, ...x.shape.slice(segmentIds.shape.length)];
  const y = native.output(shape, numSegments * cols);
  y.values.fill(0);
  native.addon.scatterAdd(native.floats(x), ids, y.values, cols);
  return y.info;
};

const fill: NativeKernel = ({ attrs }, native, fallback) => {
  const {
    shape,
    value,
    dtype = 'float32',
  } = attrs as {
    shape: number[];
    value: number | string;
    dtype?: DataType;
  };
  if (typeof value !== 'number' || dtype !== 'float32') return fallback();
  const y = native.output(shape, sizeOf(shape));
  y.values.fill(value);
  return y.info;
};

const filledLike =
  (value: number): NativeKernel =>
  ({ inputs }, native, fallback) => {
    const x = inputs.x as TensorInfo;
    if (!isNumeric(x)) return fallback();
    const y = newTensor(native, x.shape, x.dtype);
    y.values.fill(value);
    return y.info;
  };

/** To bool every number but 0 is 1; to int32 the fraction is cut off. */
const cast: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  const { dtype } = attrs as { dtype: DataType };
  if (x.dtype === dtype) return native.share(x, x.shape);
  const numeric = dtype === 'float32' || dtype === 'int32' || dtype === 'bool';
  if (!isNumeric(x) || !numeric) return fallback();
  const values = native.values(x);
  const y = newTensor(native, x.shape, dtype);
  if (dtype === 'bool') for (let i = 0; i < values.length; i++) y.values[i] = values[i] ? 1 : 0;
  else y.values.set(values);
  return y.info;
};

/** Functions that move elements, or only name them anew. */
export const shapeKernels: KernelTable = {
  Cast: cast,
  Concat: concat,
  ExpandDims: expandDims,
  Fill: fill,
  GatherV2: gather,
  Identity: identity,
  OnesLike: filledLike(1),
  Pack: pack,
  PadV2: pad,
  Reshape: reshape,
  Slice: slice,
  SplitV: splitV,
  Tile: tile,
  Transpose: transpose,
  Unpack: unpack,
  UnsortedSegmentSum: segmentSum,
  ZerosLike: filledLike(0),
};
