import type { DataType, TensorInfo } from '../../tfjs.js';
import {
  type DeviceKernel,
  type DeviceKernelTable,
  type HostKernel,
  type HostKernelTable,
  isNumeric,
} from './kernel.js';

/** To bool every number but 0 is 1; to int32 the fraction is cut off. */
const cast: HostKernel = ({ inputs, attrs }, native, fallback) => {
  const x = inputs.x as TensorInfo;
  const { dtype } = attrs as { dtype: DataType };
  if (x.dtype === dtype) return native.share(x, x.shape);
  const numeric = dtype === 'float32' || dtype === 'int32' || dtype === 'bool';
  if (!isNumeric(x) || !numeric) return fallback();
  const values = native.values(x);
  const y = native.newTensor(x.shape, dtype);
  if (dtype === 'bool') for (let i = 0; i < values.length; i++) y.values[i] = values[i] ? 1 : 0;
  else y.values.set(values);
  return y.info;
};

/** Functions that change the type. */
export const castKernels: HostKernelTable = { Cast: cast };

/** On the host: the cpu's kernel hands an int32 tensor's data to a float32 one, which on a GPU are two kinds of arrays. */
const castOnHost: DeviceKernel = ({ inputs, attrs }, cuda, fallback) => {
  const x = inputs.x as TensorInfo;
  const { dtype } = attrs as { dtype: DataType };
  if (x.dtype === dtype) return cuda.share(x, x.shape);
  const numeric = dtype === 'float32' || dtype === 'int32' || dtype === 'bool';
  if (!isNumeric(x) || !numeric) return fallback();
  const values = cuda.valuesOnHost(x);
  if (dtype === 'bool')
    return cuda.adopt(
      x.shape,
      dtype,
      Uint8Array.from(values, (value) => (value ? 1 : 0)),
    );
  const y = dtype === 'int32' ? new Int32Array(values.length) : new Float32Array(values.length);
  y.set(values);
  return cuda.adopt(x.shape, dtype, y);
};

/** The same for tensors on a GPU. */
export const deviceCastKernels: DeviceKernelTable = { Cast: castOnHost };
