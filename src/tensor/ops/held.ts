import { roundToBf16 } from '../rounded-operands.js';
import * as tf from '../tfjs.js';
import { fused, hasKernel, type KernelCall, runKernel } from './fused.js';

/** Kernel of `hold`: input x. */
export const HOLD = 'LlmkitHold';

/**
 * What an activation is rounded to as soon as it is made, so that whoever uses it, the gradient too, sees the same
 * values; a backend may then keep it in half the memory. Left out: float32. To tfjs it is float32 either way.
 */
export type Held = 'bf16' | undefined;

/** What a backend has whose kernels take the attribute `held` wherever an op's result may be held. */
export interface HoldingBackend {
  readonly holdsBf16: true;
}

function takesHeld(): boolean {
  return (tf.backend() as Partial<HoldingBackend>).holdsBf16 === true;
}

/** x as it is held; its gradient is that of the result. */
export function hold<T extends tf.Tensor>(x: T, held: Held): T {
  if (held === undefined) return x;
  const rounded = tf.customGrad((x) => ({
    value: hasKernel(HOLD)
      ? runKernel(HOLD, { inputs: { x: x as tf.Tensor } })
      : roundToBf16(x as tf.Tensor),
    gradFunc: (dy) => dy as tf.Tensor,
  }));
  return rounded(x) as T;
}

/** `fused` of an op whose result may be held. */
export function fusedHeld<T extends tf.Tensor>(
  kernelName: string,
  call: KernelCall,
  composition: () => T,
  held: Held,
): T {
  if (!hasKernel(kernelName)) return hold(fused(kernelName, call, composition), held);
  const [y] = runHeld(kernelName, call, held);
  return y as T;
}

/** Runs a kernel that the backend has, whose first result, or all with `every`, may be held. */
export function runHeld(
  kernelName: string,
  { inputs, attrs }: KernelCall,
  held: Held,
  { every = false } = {},
): tf.Tensor[] {
  const takes = held !== undefined && takesHeld();
  const call = { inputs, attrs: takes ? { ...attrs, held } : { ...attrs } };
  const made = [runKernel<tf.Tensor | tf.Tensor[]>(kernelName, call)].flat();
  if (takes) return made;
  return made.map((y, i) => (every || i === 0 ? hold(y, held) : y));
}
