import { LlmkitError } from '../errors.js';
import * as tf from './tfjs.js';

type TapeNode = ReturnType<typeof tf.engine>['state']['activeTape'][number];

/** A value, and its gradients in the order of the inputs: undefined where it does not depend on one. */
export interface ValueAndGradients {
  readonly value: tf.Tensor;
  readonly gradients: readonly (tf.Tensor | undefined)[];
}

/**
 * f() and the gradients of the sum of f() · dy (1 if left out). As tf.variableGrads, but each
 * activation and each gradient of one is released as soon as the backward pass has used it, where
 * tfjs keeps them all to the end.
 *
 * @param xs what gradients are wanted for; nothing that f makes itself
 */
export function valueAndGradients(
  f: () => tf.Tensor,
  xs: readonly tf.Tensor[],
  dy?: tf.Tensor,
): ValueAndGradients {
  const { value, tape } = record(f);
  try {
    const start = () => (dy === undefined ? tf.onesLike(value) : tf.clone(dy));
    const gradients = tf.tidy(() => walkBack(tape, xs, new Map([[value.id, start()]])));
    return { value, gradients };
  } catch (error) {
    value.dispose();
    throw error;
  } finally {
    tape.forEach(release);
  }
}

/** Runs f on a tape of its own: a block that is recomputed does so while another tape is walked. */
function record(f: () => tf.Tensor): { value: tf.Tensor; tape: TapeNode[] } {
  const { state } = tf.engine();
  const outer = state.activeTape;
  const tape: TapeNode[] = [];
  state.activeTape = tape;
  state.gradientDepth++;
  try {
    return { value: tf.tidy(f), tape };
  } catch (error) {
    tape.forEach(release);
    throw error;
  } finally {
    state.gradientDepth--;
    state.activeTape = outer;
  }
}

/** Gradients by the id of their tensor. */
type Gradients = Map<number, tf.Tensor>;

function walkBack(
  tape: readonly TapeNode[],
  xs: readonly tf.Tensor[],
  gradients: Gradients,
): (tf.Tensor | undefined)[] {
  const reached = reachedFrom(xs, tape);
  for (const node of tape.toReversed()) {
    const dys = node.outputs.map(({ id }) => gradients.get(id));
    if (node.outputs.some(({ id }) => reached.has(id)) && dys.some((dy) => dy !== undefined)) {
      addInputGradients(node, dys, { reached, gradients });
    }
    release(node);
    tf.dispose(dys as tf.Tensor[]);
    for (const { id } of node.outputs) gradients.delete(id);
  }
  return xs.map(({ id }) => gradients.get(id));
}

/** The ids of xs and of everything that was made of them. */
function reachedFrom(xs: readonly tf.Tensor[], tape: readonly TapeNode[]): ReadonlySet<number> {
  const reached = new Set(xs.map(({ id }) => id));
  for (const { inputs, outputs } of tape) {
    if (!Object.values(inputs).some(({ id }) => reached.has(id))) continue;
    for (const { id } of outputs) reached.add(id);
  }
  return reached;
}

function addInputGradients(
  node: TapeNode,
  dys: readonly (tf.Tensor | undefined)[],
  { reached, gradients }: { reached: ReadonlySet<number>; gradients: Gradients },
): void {
  const inputs = Object.entries(node.inputs).filter(([, { id }]) => reached.has(id));
  const made = tf.tidy(() => {
    const gradientOf = node.gradient?.(dys as tf.Tensor[]) ?? {};
    // A clone: what is returned may be a dy or a saved tensor, which are about to be released.
    return inputs.map(([name]) => tf.clone((gradientOf[name] ?? missing(node, name))()));
  });
  inputs.forEach(([, { id }], i) => {
    const [sum, dx] = [gradients.get(id), made[i] as tf.Tensor];
    gradients.set(id, sum === undefined ? dx : tf.add(sum, dx));
    if (sum !== undefined) tf.dispose([sum, dx]);
  });
}

function missing({ kernelName }: TapeNode, input: string): never {
  throw new LlmkitError('kernel', `${kernelName}: expected a gradient of ${input}, got none`);
}

function release(node: TapeNode): void {
  tf.dispose(node.saved ?? []);
}
