import type { BlockPlace } from './kernel-device.js';
import type { Values } from './native-backend.js';

/** A block of an array. */
export interface Block extends BlockPlace {
  readonly values: Values;
}

/** Distance between neighbours along each axis of a row-major array. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis] as number;
  }
  return strides;
}

/** Copies a block of this shape from one array into another, in the longest runs there are. */
export function copyBlock(from: Block, to: Block, shape: readonly number[]): void {
  let axes = shape.length;
  let run = 1;
  while (axes > 0 && from.strides[axes - 1] === run && to.strides[axes - 1] === run) {
    run *= shape[--axes] as number;
  }
  copyAxes(from, to, { shape, axes, run, axis: 0, source: from.start, target: to.start });
}

interface Position {
  readonly shape: readonly number[];
  /** The axes before this one are walked, the others are one run. */
  readonly axes: number;
  readonly run: number;
  readonly axis: number;
  readonly source: number;
  readonly target: number;
}

function copyAxes(from: Block, to: Block, at: Position): void {
  if (at.axis === at.axes) {
    copyRun(from.values, at.source, to.values, at.target, at.run);
    return;
  }
  const length = at.shape[at.axis] as number;
  const sourceStride = from.strides[at.axis] as number;
  const targetStride = to.strides[at.axis] as number;
  for (let i = 0; i < length; i++) {
    const source = at.source + i * sourceStride;
    const target = at.target + i * targetStride;
    if (at.axis + 1 === at.axes) copyRun(from.values, source, to.values, target, at.run);
    else copyAxes(from, to, { ...at, axis: at.axis + 1, source, target });
  }
}

/** A view costs more than copying a few elements one by one. */
const SHORT_RUN = 48;

function copyRun(from: Values, source: number, to: Values, target: number, length: number): void {
  if (length > SHORT_RUN) {
    to.set(from.subarray(source, source + length), target);
    return;
  }
  for (let i = 0; i < length; i++) to[target + i] = from[source + i] as number;
}
