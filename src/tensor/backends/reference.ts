import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '../tfjs.js';

/** Makes the `reference` backend known to tfjs: its own cpu backend, in plain TypeScript. */
export function registerReference(): void {
  tf.registerBackend('reference', () => new ReferenceBackend());
  tf.copyRegisteredKernels('cpu', 'reference');
  for (const [kernelName, kernelFunc] of Object.entries({
    UnsortedSegmentSum: segmentSum,
    Softmax: softmax,
  })) {
    tf.unregisterKernel(kernelName, 'reference');
    tf.registerKernel({ kernelName, backendName: 'reference', kernelFunc });
  }
}

class ReferenceBackend extends MathBackendCPU {
  constructor() {
    super();
    // tfjs writes its advertisement with the first tensor.
    Object.assign(this, { firstUse: false });
  }
}

/** The cpu backend compares every segment with every id; the embedding's gradient has thousands. */
const segmentSum: tf.KernelFunc = ({ inputs, attrs, backend }) => {
  const { x, segmentIds } = inputs as { x: tf.TensorInfo; segmentIds: tf.TensorInfo };
  const { numSegments } = attrs as { numSegments: number };
  const cpu = backend as MathBackendCPU;
  const values = cpu.readSync(x.dataId) as Float32Array;
  const ids = cpu.readSync(segmentIds.dataId) as Int32Array;
  const width = values.length / Math.max(ids.length, 1);
  const sums = new Float32Array(numSegments * width);
  ids.forEach((id, row) => {
    if (id < 0 || id >= numSegments) return;
    for (let i = 0; i < width; i++) {
      sums[id * width + i] = (sums[id * width + i] ?? 0) + (values[row * width + i] ?? 0);
    }
  });
  const shape = [numSegments, ...x.shape.slice(segmentIds.shape.length)];
  return cpu.makeTensorInfo(shape, x.dtype, x.dtype === 'int32' ? Int32Array.from(sums) : sums);
};

/** The cpu backend composes it of broadcasts, which take most of the time of long attention. */
const softmax: tf.KernelFunc = ({ inputs, backend }) => {
  const { logits } = inputs as { logits: tf.TensorInfo };
  const cpu = backend as MathBackendCPU;
  const values = Float32Array.from(cpu.readSync(logits.dataId) as Float32Array);
  const width = logits.shape.at(-1) ?? 1;
  for (let start = 0; start < values.length; start += width) {
    softmaxInPlace(values.subarray(start, start + width));
  }
  return cpu.makeTensorInfo(logits.shape, 'float32', values);
};

function softmaxInPlace(row: Float32Array): void {
  const highest = row.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (let i = 0; i < row.length; i++) {
    const power = Math.exp((row[i] ?? 0) - highest);
    row[i] = power;
    sum += power;
  }
  for (let i = 0; i < row.length; i++) row[i] = (row[i] ?? 0) / sum;
}
