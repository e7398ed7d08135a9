import * as tf from '../tfjs.js';

/** How a cheap op's result is made again from its inputs. */
interface Recipe {
  readonly inputs: readonly tf.Tensor[];
  readonly run: (inputs: readonly tf.Tensor[]) => tf.Tensor;
}

/** Those of tensors that a gradient may want again, by tensor. */
const recipes = new WeakMap<tf.Tensor, Recipe>();

/**
 * Notes that y is cheap to make again, so that the gradients of what uses it keep its inputs, which the
 * gradient of the op keeps in any case, instead of y itself.
 *
 * @param run gives y again from inputs of the same values
 */
export function cheap<T extends tf.Tensor>(
  y: T,
  inputs: readonly tf.Tensor[],
  run: Recipe['run'],
): T {
  if (tf.engine().isTapeOn()) recipes.set(y, { inputs, run });
  return y;
}

/** What a gradient saves of a tensor, and how it gets the tensor back. */
export interface Savable {
  readonly tensors: readonly tf.Tensor[];
  /** @param saved the tensors as the tape gives them back; @returns x, possibly one of them */
  restore(saved: readonly tf.Tensor[]): tf.Tensor;
}

/** x itself, or what it is made of where that is cheap. */
export function savable(x: tf.Tensor): Savable {
  const recipe = recipes.get(x);
  if (recipe === undefined || recipe.inputs.some((input) => input.isDisposed)) {
    return { tensors: [x], restore: ([saved]) => saved as tf.Tensor };
  }
  const parts = recipe.inputs.map(savable);
  return {
    tensors: parts.flatMap(({ tensors }) => tensors),
    restore(saved) {
      const rest = [...saved];
      return recipe.run(parts.map((part) => part.restore(rest.splice(0, part.tensors.length))));
    },
  };
}
