import { ACTIVATED_LINEAR } from '../../ops/activated-linear.js';
import type { ActivationName } from '../../ops/activation.js';
import { GATED_LINEAR } from '../../ops/gated-linear.js';
import { LINEAR_RESIDUAL } from '../../ops/linear-residual.js';
import { MERGED_LINEAR } from '../../ops/merged-linear.js';
import type { TensorInfo } from '../../tfjs.js';
import type { Weight } from '../../weight.js';
import type { Matrix } from '../addon.js';
import type { Elements, Floats, Ints } from '../arrays.js';
import type { KernelDevice } from '../kernel-device.js';
import { heldOf, multiplied, optional } from './blocks.js';
import { type KernelParams, type KernelTable, type NativeKernel, sizeOf } from './kernel.js';

/** The shape of x · weightᵀ. */
function productShape(x: TensorInfo, weight: Weight): number[] {
  return [...x.shape.slice(0, -1), weight.rows];
}

/** How the one layer of a call, or all of them, are multiplied. */
interface LayerAttrs {
  readonly weights: readonly [Weight, ...Weight[]];
  readonly scales: readonly (number | undefined)[];
}

/** a, b and scale of each layer's update, null without one; nothing where no layer has one. */
function updatesOf<F extends Floats, I extends Ints>(
  native: KernelDevice<F, I>,
  inputs: KernelParams['inputs'],
  { scales }: LayerAttrs,
): (F | number | null)[] {
  if (scales.every((scale) => scale === undefined)) return [];
  return scales.flatMap((scale, i) => [
    optional(native, inputs, `a${i}`),
    optional(native, inputs, `b${i}`),
    scale ?? null,
  ]);
}

/** A tensor for x · weightᵀ. */
function outputOf<F extends Floats, I extends Ints>(
  native: KernelDevice<F, I>,
  x: TensorInfo,
  weight: Weight,
) {
  const shape = productShape(x, weight);
  return native.output(shape, sizeOf(shape));
}

const mergedLinear: NativeKernel = <F extends Floats, I extends Ints>(
  { inputs, attrs }: KernelParams,
  native: KernelDevice<F, I>,
) => {
  const x = inputs.x as TensorInfo;
  const { weights } = attrs as { weights: readonly Weight[] };
  const infos: TensorInfo[] = [];
  const layers: (Matrix<F> | Elements<F> | null)[] = [];
  for (const [i, weight] of weights.entries()) {
    const shape = productShape(x, weight);
    const y = native.output(shape, sizeOf(shape), heldOf({ attrs }));
    infos.push(y.info);
    layers.push(native.weight(weight), optional(native, inputs, `bias${i}`), y.values);
  }
  const values = multiplied(
    native,
    x,
    weights.find(({ compute }) => compute === 'f32') ?? weights[0],
  );
  native.addon.mergedLinear(values, x.shape[x.shape.length - 1] as number, ...layers);
  return infos;
};

const linearResidual: NativeKernel = ({ inputs, attrs }, native) => {
  const { x, residual } = inputs as Record<'x' | 'residual', TensorInfo>;
  const layer = attrs as unknown as LayerAttrs;
  const [weight] = layer.weights;
  const y = outputOf(native, x, weight);
  native.addon.linear(
    multiplied(native, x, weight),
    native.weight(weight),
    optional(native, inputs, 'bias0'),
    y.values,
    weight.cols,
    native.floats(residual),
    ...updatesOf(native, inputs, layer),
  );
  return y.info;
};

const gatedLinear: NativeKernel = ({ inputs, attrs }, native) => {
  const x = inputs.x as TensorInfo;
  const { name, ...layers } = attrs as unknown as LayerAttrs & { name: ActivationName };
  const [gate, up] = layers.weights as [Weight, Weight];
  const y = outputOf(native, x, gate);
  const linear = native.roomForProduct(y.values.length);
  native.addon.gatedLinear(
    name,
    native.floats(x),
    gate.cols,
    native.weight(gate),
    optional(native, inputs, 'bias0'),
    y.values,
    native.weight(up),
    optional(native, inputs, 'bias1'),
    linear,
    ...updatesOf(native, inputs, layers),
  );
  if (linear !== null) native.release(linear);
  return y.info;
};

const activatedLinear: NativeKernel = ({ inputs, attrs }, native) => {
  const x = inputs.x as TensorInfo;
  const { name, ...layer } = attrs as unknown as LayerAttrs & { name: ActivationName };
  const [weight] = layer.weights;
  const y = outputOf(native, x, weight);
  native.addon.activatedLinear(
    name,
    native.floats(x),
    native.weight(weight),
    optional(native, inputs, 'bias0'),
    y.values,
    weight.cols,
    ...updatesOf(native, inputs, layer),
  );
  return y.info;
};

/** Linear layers with what surrounds them. */
export const linearKernels: KernelTable = {
  [ACTIVATED_LINEAR]: activatedLinear,
  [GATED_LINEAR]: gatedLinear,
  [LINEAR_RESIDUAL]: linearResidual,
  [MERGED_LINEAR]: mergedLinear,
};
