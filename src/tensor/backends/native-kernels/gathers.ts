import { type DataType, type TensorInfo, util } from '../../tfjs.js';
import { isNumeric, type KernelTable, type NativeKernel, sizeOf, sizeOfAxes } from './kernel.js';

const gather: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  const indices = inputs.indices as TensorInfo;
  const { axis, batchDims } = attrs as { axis: number; batchDims: number };
  const [along = 0] = util.parseAxisParam(axis, x.shape);
  if (x.dtype !== 'float32' || indices.dtype !== 'int32' || batchDims !== 0) return fallback();
  const ids = native.ints(indices);
  const length = x.shape[along] as number;
  const wrong = native.hostInts(indices)?.find((id) => id < 0 || id >= length);
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
  const inside = native.hostInts(segmentIds)?.every((id) => id >= 0 && id < numSegments);
  if (x.dtype !== 'float32' || !inside || sizeOf(segmentIds.shape) === 0) return fallback();
  const ids = native.ints(segmentIds);
  const cols = sizeOf(x.shape) / ids.length;
  const shape = [numSegments, ...x.shape.slice(segmentIds.shape.length)];
  const y = native.output(shape, numSegments * cols);
  native.fill(y.values, 0);
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
  return native.filled(shape, dtype, value);
};

const filledLike =
  (value: number): NativeKernel =>
  ({ inputs }, native, fallback) => {
    const x = inputs.x as TensorInfo;
    if (!isNumeric(x)) return fallback();
    return native.filled(x.shape, x.dtype, value);
  };

/** Functions that pick elements by index, or make them. */
export const gatherKernels: KernelTable = {
  Fill: fill,
  GatherV2: gather,
  OnesLike: filledLike(1),
  UnsortedSegmentSum: segmentSum,
  ZerosLike: filledLike(0),
};
