import { backend_util, slice_util, type TensorInfo, util } from '../../tfjs.js';
import type { Floats, Ints } from '../arrays.js';
import type { BlockMove, KernelDevice } from '../kernel-device.js';
import { type KernelTable, type NativeKernel, sizeOf } from './kernel.js';

const slice: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  if (!native.assembles(x.dtype)) return fallback();
  const { begin, size } = attrs as { begin: number | number[]; size: number | number[] };
  const [starts, shape] = slice_util.parseSliceParams(x as never, begin, size) as [
    number[],
    number[],
  ];
  slice_util.assertParamsValid(x as never, starts, shape);
  return sliceOf(native, x, { starts, shape });
};

/** Distance between neighbours along each axis of a row-major array. */
function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis] as number;
  }
  return strides;
}

function sliceOf<F extends Floats, I extends Ints>(
  native: KernelDevice<F, I>,
  x: TensorInfo,
  { starts, shape }: { readonly starts: readonly number[]; readonly shape: number[] },
): TensorInfo {
  const strides = stridesOf(x.shape);
  const start = starts.reduce((sum, begin, axis) => sum + begin * (strides[axis] as number), 0);
  const to = { start: 0, strides: stridesOf(shape) };
  const move = { x, shape, from: { start, strides }, to };
  return native.assembled({ shape, dtype: x.dtype }, [move]);
}

const splitV: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  if (!native.assembles(x.dtype)) return fallback();
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
    const part = sliceOf(native, x, { starts, shape });
    starts[along] = (starts[along] as number) + length;
    return part;
  });
};

const unpack: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const value = inputs.value as TensorInfo;
  if (!native.assembles(value.dtype)) return fallback();
  const { axis } = attrs as { axis: number };
  const along = axis < 0 ? axis + value.shape.length : axis;
  const unit = value.shape.map((length, i) => (i === along ? 1 : length));
  const shape = value.shape.filter((_, i) => i !== along);
  return Array.from({ length: value.shape[along] as number }, (_, i) => {
    const starts = value.shape.map((_, axis) => (axis === along ? i : 0));
    return { ...sliceOf(native, value, { starts, shape: unit }), shape };
  });
};

const pad: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  if (!native.assembles(x.dtype)) return fallback();
  const { paddings, constantValue } = attrs as {
    paddings: [number, number][];
    constantValue: number;
  };
  const shape = x.shape.map(
    (length, i) => length + (paddings[i]?.[0] ?? 0) + (paddings[i]?.[1] ?? 0),
  );
  const strides = stridesOf(shape);
  const start = paddings.reduce((sum, [before], i) => sum + before * (strides[i] as number), 0);
  const from = { start: 0, strides: stridesOf(x.shape) };
  return native.assembled({ shape, dtype: x.dtype, fill: constantValue }, [
    { x, shape: x.shape, from, to: { start, strides } },
  ]);
};

const tile: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  if (!native.assembles(x.dtype)) return fallback();
  const { reps } = attrs as { reps: number[] };
  // Each axis of the result is two: the repetition, which does not move in x, and x's own.
  const strides = stridesOf(x.shape);
  const shape = x.shape.map((length, i) => length * (reps[i] as number));
  const to = stridesOf(shape).flatMap((stride, i) => [stride * (x.shape[i] as number), stride]);
  const move = {
    x,
    shape: x.shape.flatMap((length, i) => [reps[i] as number, length]),
    from: { start: 0, strides: strides.flatMap((stride) => [0, stride]) },
    to: { start: 0, strides: to },
  };
  return native.assembled({ shape, dtype: x.dtype }, [move]);
};

const concat: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const all = Object.values(inputs);
  const parts = all.filter((x) => sizeOf(x.shape) > 0);
  const [first] = parts;
  const sameDtype = parts.every((x) => x.dtype === first?.dtype);
  if (first === undefined || !sameDtype || !native.assembles(first.dtype)) return fallback();
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

function joined<F extends Floats, I extends Ints>(
  native: KernelDevice<F, I>,
  parts: readonly TensorInfo[],
  { shape, axis }: { readonly shape: number[]; readonly axis: number },
): TensorInfo {
  const strides = stridesOf(shape);
  let start = 0;
  const moves = parts.map((x): BlockMove => {
    const from = { start: 0, strides: stridesOf(x.shape) };
    const to = { start, strides };
    start += (x.shape[axis] as number) * (strides[axis] as number);
    return { x, shape: x.shape, from, to };
  });
  return native.assembled({ shape, dtype: (parts[0] as TensorInfo).dtype }, moves);
}

const pack: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const parts = Object.values(inputs);
  const first = parts[0] as TensorInfo;
  const { axis } = attrs as { axis: number };
  const alike = parts.every(
    (x) => x.dtype === first.dtype && util.arraysEqual(x.shape, first.shape),
  );
  if (!alike || !native.assembles(first.dtype) || axis < 0) return fallback();
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

/** Functions that cut tensors or put them together. */
export const sliceKernels: KernelTable = {
  Concat: concat,
  Pack: pack,
  PadV2: pad,
  Slice: slice,
  SplitV: splitV,
  Tile: tile,
  Unpack: unpack,
};
