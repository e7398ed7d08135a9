import { LlmkitError } from '../errors.js';
import * as tf from './tfjs.js';

type TapeNode = ReturnType<typeof tf.engine>['state']['activeTape'][number];

/** A value, and its gradients in the order of the inputs: undefined where it does not depend on one. */
export interface ValueAndGradients {
  readonly value: tf.Tensor;
  readonly gradients: readonly (tf.Tensor | undefined)[];
}

export interface GradientOptions {
  /** 1 if left out. */
  readonly dy?: tf.Tensor | undefined;
  /** Told of each gradient as soon as it is there, those of activations among them, and of each sum that replaces one. */
  readonly onGradient?: ((x: tf.Tensor, gradient: tf.Tensor) => void) | undefined;
}

/**
 * f() and the gradients of the sum of f() · dy. As tf.variableGrads, but each activation and each
 * gradient of one is released as soon as the backward pass has used it, where tfjs keeps them all
 * to the end.
 *
 * @param xs what gradients are wanted for; nothing that f makes itself
 */
export function valueAndGradients(
  f: () => tf.Tensor,
  xs: readonly tf.Tensor[],
  { dy, onGradient }: GradientOptions = {},
): ValueAndGradients {
  const { value, tape } = record(f);
  try {
    const start = () => (dy === undefined ? tf.onesLike(value) : tf.clone(dy));
    const gradients = tf.tidy(() => {
      const byId = new Map([[value.id, start()]]);
      return walkBack(tape, xs, { byId, onGradient });
    });
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

/** Gradients by the id of their tensor, and who is told of some. */
interface Gradients extends Pick<GradientOptions, 'onGradient'> {
  readonly byId: Map<number, tf.Tensor>;
}

function walkBack(
  tape: readonly TapeNode[],
  xs: readonly tf.Tensor[],
  gradients: Gradients,
): (tf.Tensor | undefined)[] {
  const { byId } = gradients;
  const reached = reachedFrom(xs, tape);
  for (const node of tape.toReversed()) {
    const dys = node.outputs.map(({ id }) => byId.get(id));
    if (node.outputs.some(({ id }) => reached.has(id)) && dys.some((dy) => dy !== undefined)) {
      addInputGradients(node, dys, { reached, gradients });
    }
    release(node);
    tf.dispose(dys as tf.Tensor[]);
    for (const { id } of node.outputs) byId.delete(id);
  }
  return xs.map(({ id }) => byId.get(id));
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
  const { byId, onGradient } = gradients;
  inputs.forEach(([, x], i) => {
    const [before, dx] = [byId.get(x.id), made[i] as tf.Tensor];
    const gradient = before === undefined ? dx : tf.add(before, dx);
    byId.set(x.id, gradient);
    onGradient?.(x, gradient);
    if (before !== undefined) tf.dispose([before, dx]);
  });
}

function missing({ kernelName }: TapeNode, input: string): never {
  throw new LlmkitError('kernel', `${kernelName}: expected a gradient of ${input}, got none`);
}

function release(node: TapeNode): void {
  tf.dispose(node.saved ?? []);
}
