import { broadcast_util, type TensorInfo } from '../../tfjs.js';
import { type KernelTable, type NativeKernel, sizeOfAxes } from './kernel.js';

const batchMatMul: NativeKernel = ({ inputs, attrs }, native, fallback) => {
  const a = inputs.a as TensorInfo;
  const b = inputs.b as TensorInfo;
  const { transposeA, transposeB } = attrs as { transposeA: boolean; transposeB: boolean };
  const batchA = sizeOfAxes(a.shape, 0, a.shape.length - 2);
  const batchB = sizeOfAxes(b.shape, 0, b.shape.length - 2);
  const [m, k] = matrixAxes(a.shape, transposeA);
  const [innerB, n] = matrixAxes(b.shape, transposeB);
  const repeats = batchA === batchB || batchA === 1 || batchB === 1;
  const floats = a.dtype === 'float32' && b.dtype === 'float32';
  if (!floats || !repeats || k !== innerB || k * m * n * batchA * batchB === 0) return fallback();
  const batch = batchShape(a.shape, b.shape);
  const y = native.output([...batch, m, n], Math.max(batchA, batchB) * m * n);
  const [left, right] = [native.floats(a), native.floats(b)];
  native.addon.matmul(left, right, y.values, batchA, batchB, m, n, k, transposeA, transposeB);
  return y.info;
};

/** The last two axes, after the transposition. */
function matrixAxes(shape: readonly number[], transpose: boolean): [number, number] {
  const rows = shape[shape.length - 2] as number;
  const cols = shape[shape.length - 1] as number;
  return transpose ? [cols, rows] : [rows, cols];
}

function batchShape(a: number[], b: number[]): number[] {
  if (a.length === 2 && b.length === 2) return [];
  return broadcast_util.assertAndGetBroadcastShape(a.slice(0, -2), b.slice(0, -2));
}

/** Products of matrices. */
export const matmulKernels: KernelTable = { BatchMatMul: batchMatMul };
