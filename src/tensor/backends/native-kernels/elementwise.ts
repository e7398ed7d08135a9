import { broadcast_util, type TensorInfo } from '../../tfjs.js';
import type { BinaryOp, Broadcast, UnaryOp } from '../addon.js';
import { type KernelTable, type NativeKernel, sizeOf } from './kernel.js';

/** How an operand covers the result, seen as rows of `cols`; undefined where any width fits. */
interface Cover {
  readonly broadcast: Broadcast;
  readonly cols: number | undefined;
}

const unary =
  (op: UnaryOp): NativeKernel =>
  ({ inputs }, native, fallback) => {
    const x = inputs.x as TensorInfo;
    if (x.dtype !== 'float32') return fallback();
    const values = native.floats(x);
    const y = native.output(x.shape, values.length);
    native.addon.unary(op, values, y.values);
    return y.info;
  };

const binary =
  (op: BinaryOp): NativeKernel =>
  ({ inputs }, native, fallback) => {
    const a = inputs.a as TensorInfo;
    const b = inputs.b as TensorInfo;
    if (a.dtype !== 'float32' || b.dtype !== 'float32') return fallback();
    const [left, right] = [native.floats(a), native.floats(b)];
    if (left.length > 0 && sameShape(a.shape, b.shape)) {
      const y = native.output(a.shape, left.length);
      native.addon.binary(op, left, right, y.values, left.length, 'full', 'full');
      return y.info;
    }
    const shape = broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape);
    const [coverA, coverB] = [cover(a.shape, shape), cover(b.shape, shape)];
    const cols = coverA?.cols ?? coverB?.cols ?? sizeOf(shape);
    if (
      coverA === undefined ||
      coverB === undefined ||
      cols !== (coverB.cols ?? cols) ||
      cols === 0
    ) {
      return fallback();
    }
    const y = native.output(shape, sizeOf(shape));
    native.addon.binary(op, left, right, y.values, cols, coverA.broadcast, coverB.broadcast);
    return y.info;
  };

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let axis = 0; axis < a.length; axis++) if (a[axis] !== b[axis]) return false;
  return true;
}

/** undefined when the operand repeats in another way than the addon knows. */
function cover(shape: readonly number[], result: readonly number[]): Cover | undefined {
  const size = sizeOf(shape);
  const resultSize = sizeOf(result);
  if (size === resultSize) return { broadcast: 'full', cols: undefined };
  if (size === 1) return { broadcast: 'scalar', cols: undefined };
  const missing = result.length - shape.length;
  const matches = result.map((length, axis) => length === 1 || shape[axis - missing] === length);
  const firstMatch = matches.findIndex((match, axis) => match && result[axis] !== 1);
  const lastMatch = matches.findLastIndex((match, axis) => match && result[axis] !== 1);
  if (matches.slice(firstMatch).every(Boolean)) return { broadcast: 'row', cols: size };
  if (matches.slice(0, lastMatch + 1).every(Boolean)) {
    return { broadcast: 'column', cols: resultSize / size };
  }
  return undefined;
}

const addN: NativeKernel = ({ inputs }, native, fallback) => {
  const [first, second, ...others] = Object.values(inputs) as [TensorInfo, TensorInfo];
  const all = Object.values(inputs);
  if (all.length < 2 || all.some((x) => x.dtype !== 'float32')) return fallback();
  const length = native.floats(first).length;
  const y = native.output(first.shape, length);
  const { addon } = native;
  addon.binary(
    'add',
    native.floats(first),
    native.floats(second),
    y.values,
    length,
    'full',
    'full',
  );
  for (const x of others as TensorInfo[]) {
    addon.binary('add', y.values, native.floats(x), y.values, length, 'full', 'full');
  }
  return y.info;
};

/** Step(x) is alpha at and below 0; the addon knows alpha 0 only. */
const step: NativeKernel = (params, native, fallback) =>
  (params.attrs as { alpha: number }).alpha === 0
    ? unary('step')(params, native, fallback)
    : fallback();

/** Functions of each element, or of two tensors that broadcast. */
export const elementwiseKernels: KernelTable = {
  Abs: unary('abs'),
  Add: binary('add'),
  AddN: addN,
  Erf: unary('erf'),
  Exp: unary('exp'),
  Log: unary('log'),
  Maximum: binary('max'),
  Minimum: binary('min'),
  Multiply: binary('mul'),
  Neg: unary('neg'),
  RealDiv: binary('div'),
  Reciprocal: unary('reciprocal'),
  Relu: unary('relu'),
  Rsqrt: unary('rsqrt'),
  Sigmoid: unary('sigmoid'),
  Sqrt: unary('sqrt'),
  Square: unary('square'),
  SquaredDifference: binary('squared_difference'),
  Step: step,
  Sub: binary('sub'),
  Tanh: unary('tanh'),
};
