import { ACTIVATION, ACTIVATION_GRAD, type ActivationName } from '../../ops/activation.js';
import { DROPOUT, type DropoutOptions } from '../../ops/dropout.js';
import { EMBEDDING } from '../../ops/embedding.js';
import { GATED_MLP, GATED_MLP_GRAD } from '../../ops/gated-mlp.js';
import { type Held, HOLD } from '../../ops/held.js';
import { LAYER_NORM, LAYER_NORM_GRAD } from '../../ops/layer-norm.js';
import { LINEAR, LINEAR_DENSE, LINEAR_GRAD_INPUT } from '../../ops/linear.js';
import { LORA_LINEAR, LORA_LINEAR_GRAD } from '../../ops/lora-linear.js';
import { RMS_NORM, RMS_NORM_GRAD } from '../../ops/rms-norm.js';
import { ROPE } from '../../ops/rope.js';
import type { TensorInfo } from '../../tfjs.js';
import type { Weight } from '../../weight.js';
import type { Matrix } from '../addon.js';
import type { Elements, Floats, Ints } from '../arrays.js';
import type { KernelDevice } from '../kernel-device.js';
import { type KernelParams, type KernelTable, type NativeKernel, sizeOf } from './kernel.js';

/** The input of this name as float32 values, or null where it is left out. */
export function optional<F extends Floats, I extends Ints>(
  native: KernelDevice<F, I>,
  inputs: KernelParams['inputs'],
  name: string,
): F | null {
  const x = inputs[name];
  return x === undefined ? null : native.floats(x);
}

/** How a call's result is to be held. */
export function heldOf({ attrs }: { readonly attrs: object }): Held {
  return (attrs as { held?: Held }).held;
}

/** What is multiplied with a matrix: as it is held where the matrix is packed, else float32. */
export function multiplied<F extends Floats, I extends Ints>(
  native: KernelDevice<F, I>,
  x: TensorInfo,
  weight: Weight | undefined,
): Elements<F> {
  return weight === undefined || weight.compute === 'f32' ? native.floats(x) : native.elements(x);
}

/** The matrix of a call and its size: an attribute when it is frozen, else an input. */
export function matrixOf<F extends Floats, I extends Ints>(
  native: KernelDevice<F, I>,
  { inputs, attrs }: KernelParams,
) {
  const { weight: frozen } = attrs as { weight?: Weight };
  if (frozen !== undefined) {
    const matrix: Matrix<F> = native.weight(frozen);
    return { matrix, frozen, rows: frozen.rows, cols: frozen.cols };
  }
  const weight = inputs.weight as TensorInfo;
  const [rows, cols] = weight.shape as [number, number];
  return { matrix: native.floats(weight) as Matrix<F>, rows, cols };
}

const linear: NativeKernel = (params, native) => {
  const x = params.inputs.x as TensorInfo;
  const { matrix, frozen, rows, cols } = matrixOf(native, params);
  const values = multiplied(native, x, frozen);
  const shape = x.shape.slice();
  shape[shape.length - 1] = rows;
  const y = native.output(shape, (values.length / cols) * rows, heldOf(params));
  const bias = optional(native, params.inputs, 'bias');
  native.addon.linear(values, matrix, bias, y.values, cols);
  return y.info;
};

const linearGradInput: NativeKernel = (params, native) => {
  const dy = params.inputs.dy as TensorInfo;
  const { matrix, rows, cols } = matrixOf(native, params);
  const values = native.floats(dy);
  const shape = dy.shape.slice();
  shape[shape.length - 1] = cols;
  const dx = native.output(shape, (values.length / rows) * cols);
  native.addon.linearGradInput(values, matrix, dx.values, cols);
  return dx.info;
};

const loraLinear: NativeKernel = (params, native) => {
  const { x, a, b, dropped } = params.inputs as Record<'x' | 'a' | 'b' | 'dropped', TensorInfo>;
  const { matrix, frozen, rows, cols } = matrixOf(native, params);
  const values = multiplied(native, x, frozen);
  const [M, R] = [values.length / cols, a.shape[0] as number];
  const y = native.output([...x.shape.slice(0, -1), rows], M * rows, heldOf(params));
  const low = native.output([M, R], M * R);
  native.addon.loraLinear(
    values,
    dropped === undefined ? values : native.elements(dropped),
    matrix,
    native.floats(a),
    native.floats(b),
    (params.attrs as { scale: number }).scale,
    optional(native, params.inputs, 'bias'),
    y.values,
    low.values,
    cols,
  );
  return [y.info, low.info];
};

const loraLinearGrad: NativeKernel = (params, native) => {
  const { dy, dropped, low, a, b } = params.inputs as Record<
    'dy' | 'dropped' | 'low' | 'a' | 'b',
    TensorInfo
  >;
  const { matrix, cols } = matrixOf(native, params);
  const { scale, whole } = params.attrs as { scale: number; whole: boolean };
  const like = (x: TensorInfo) => native.output(x.shape, sizeOf(x.shape));
  const [dx, da, db] = [like(dropped), like(a), like(b)];
  const ddropped = whole ? undefined : like(dropped);
  native.addon.loraLinearGrad(
    native.floats(dy),
    native.elements(dropped),
    native.floats(low),
    matrix,
    native.floats(a),
    native.floats(b),
    scale,
    dx.values,
    ddropped?.values ?? null,
    da.values,
    db.values,
    cols,
  );
  return [dx, da, db, ddropped].flatMap((gradient) => gradient?.info ?? []);
};

const rmsNorm: NativeKernel = ({ inputs, attrs }, native) => {
  const { x, weight } = inputs as Record<'x' | 'weight', TensorInfo>;
  const values = native.elements(x);
  const { eps, held } = attrs as { eps: number; held?: Held };
  const y = native.output(x.shape, values.length, held);
  native.addon.rmsNorm(values, native.floats(weight), eps, y.values);
  return y.info;
};

const layerNorm: NativeKernel = ({ inputs, attrs }, native) => {
  const { x, weight } = inputs as Record<'x' | 'weight', TensorInfo>;
  const values = native.elements(x);
  const { eps, held } = attrs as { eps: number; held?: Held };
  const y = native.output(x.shape, values.length, held);
  const bias = optional(native, inputs, 'bias');
  native.addon.layerNorm(values, native.floats(weight), bias, eps, y.values);
  return y.info;
};

/** The gradient of x or of the weight. */
const normGrad =
  (norm: 'rmsNormGrad' | 'layerNormGrad'): NativeKernel =>
  ({ inputs, attrs }, native) => {
    const { x, weight, dy } = inputs as Record<'x' | 'weight' | 'dy', TensorInfo>;
    const { eps, wanted } = attrs as { eps: number; wanted: 'x' | 'weight' };
    const [values, scale, dys] = [native.elements(x), native.floats(weight), native.floats(dy)];
    if (wanted === 'x') {
      const dx = native.output(x.shape, values.length);
      native.addon[norm](values, scale, eps, dys, dx.values, null, null);
      return dx.info;
    }
    const dweight = native.output(weight.shape, scale.length);
    native.addon[norm](values, scale, eps, dys, null, dweight.values, null);
    return dweight.info;
  };

const rope: NativeKernel = ({ inputs, attrs }, native) => {
  const { x, cos, sin } = inputs as Record<'x' | 'cos' | 'sin', TensorInfo>;
  const [, , heads, headSize] = x.shape as [number, number, number, number];
  const values = native.elements(x);
  const { inverse, held } = attrs as { inverse: boolean; held?: Held };
  const y = native.output(x.shape, values.length, held);
  const [cosines, sines] = [native.floats(cos), native.floats(sin)];
  native.addon.rope(values, cosines, sines, y.values, heads, headSize, inverse);
  return y.info;
};

const activation: NativeKernel = ({ inputs, attrs }, native) => {
  const x = inputs.x as TensorInfo;
  const values = native.elements(x);
  const { name, held } = attrs as { name: ActivationName; held?: Held };
  const y = native.output(x.shape, values.length, held);
  native.addon.activation(name, values, y.values);
  return y.info;
};

const activationGrad: NativeKernel = ({ inputs, attrs }, native) => {
  const { x, dy } = inputs as Record<'x' | 'dy', TensorInfo>;
  const values = native.elements(x);
  const dx = native.output(x.shape, values.length);
  const { name } = attrs as { name: ActivationName };
  native.addon.activationGrad(name, values, native.floats(dy), dx.values);
  return dx.info;
};

const gatedMlp: NativeKernel = ({ inputs, attrs }, native) => {
  const { gate, up } = inputs as Record<'gate' | 'up', TensorInfo>;
  const values = native.elements(gate);
  const { name, held } = attrs as { name: ActivationName; held?: Held };
  const y = native.output(gate.shape, values.length, held);
  native.addon.gatedMlp(name, values, native.elements(up), y.values);
  return y.info;
};

const gatedMlpGrad: NativeKernel = ({ inputs, attrs }, native) => {
  const { gate, up, dy } = inputs as Record<'gate' | 'up' | 'dy', TensorInfo>;
  const { name } = attrs as { name: ActivationName };
  const [gates, ups, dys] = [native.elements(gate), native.elements(up), native.floats(dy)];
  const dgate = native.output(gate.shape, gates.length);
  const dup = native.output(gate.shape, gates.length);
  native.addon.gatedMlpGrad(name, gates, ups, dys, dgate.values, dup.values);
  return [dgate.info, dup.info];
};

const embedding: NativeKernel = ({ inputs, attrs }, native) => {
  const ids = inputs.ids as TensorInfo;
  const { weight } = attrs as { weight: Weight };
  const values = native.ints(ids);
  const y = native.output([...ids.shape, weight.cols], values.length * weight.cols);
  native.addon.dequantizeRows(native.weight(weight.stored), values, y.values);
  return y.info;
};

const dropout: NativeKernel = ({ inputs, attrs }, native) => {
  const { x, keys } = inputs as Record<'x' | 'keys', TensorInfo>;
  const { rate, seed, stream } = attrs as Omit<DropoutOptions, 'keys'>;
  const y = native.output(x.shape, sizeOf(x.shape));
  native.addon.dropout(native.elements(x), native.ints(keys), rate, seed, stream, y.values);
  return y.info;
};

const hold: NativeKernel = ({ inputs }, native) => {
  const x = inputs.x as TensorInfo;
  const y = native.output(x.shape, sizeOf(x.shape), 'bf16');
  native.addon.convert(native.elements(x), y.values);
  return y.info;
};

/** The layers of a decoder block. */
export const blockKernels: KernelTable = {
  [ACTIVATION]: activation,
  [ACTIVATION_GRAD]: activationGrad,
  [DROPOUT]: dropout,
  [EMBEDDING]: embedding,
  [GATED_MLP]: gatedMlp,
  [GATED_MLP_GRAD]: gatedMlpGrad,
  [HOLD]: hold,
  [LAYER_NORM]: layerNorm,
  [LAYER_NORM_GRAD]: normGrad('layerNormGrad'),
  [LINEAR]: linear,
  [LINEAR_DENSE]: linear,
  [LINEAR_GRAD_INPUT]: linearGradInput,
  [LORA_LINEAR]: loraLinear,
  [LORA_LINEAR_GRAD]: loraLinearGrad,
  [RMS_NORM]: rmsNorm,
  [RMS_NORM_GRAD]: normGrad('rmsNormGrad'),
  [ROPE]: rope,
};
