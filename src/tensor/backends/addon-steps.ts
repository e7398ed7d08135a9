import type { KvCacheHandle } from './addon-attention.ts';
import type { DeviceFloats, DeviceInts } from './arrays.ts';

/** A step of decoding that the GPU's addon records, made by `newStep`. */
export interface StepHandle {
  readonly __llmkitStep: never;
}

/**
 * Functions of the GPU's addon for steps of decoding that follow each other without the host; see `DecodeSteps`. What
 * a step is given stays the caller's and must outlive it.
 */
export interface AddonSteps {
  /** Gives every row of a cache pages of its own for so many keys in all. Returns the bytes held. */
  reserveKv(cache: KvCacheHandle, keys: number): number;
  /** Elements of a table that says where the pages of so many rows of so many keys are. */
  kvTableLength(rows: number, keys: number): number;
  /** Fills it in for the rows of a cache: right until pages are reserved or rows are selected. */
  writeKvTable(cache: KvCacheHandle, table: DeviceInts): void;

  /** A step of so many rows; each is one element of ids, positions and steps (0 where it begins). */
  newStep(ids: DeviceInts, positions: DeviceInts, steps: DeviceInts): StepHandle;
  /** Has first [rows] follow the positions: the first key of a window of so many. */
  addStepWindow(step: StepHandle, window: number, first: DeviceInts): void;
  /** The same for tableRows [rows]: position + offset. */
  setStepTable(step: StepHandle, offset: number, tableRows: DeviceInts): void;
  /** The same for cos and sin [rows, half]: rows of the tables [positions, half]. */
  setStepAngles(
    step: StepHandle,
    cosTable: DeviceFloats,
    sinTable: DeviceFloats,
    cos: DeviceFloats,
    sin: DeviceFloats,
  ): void;
  /**
   * The same for uniforms, float64 [rows] in twice as many elements: the numbers of `uniformAt` for the key, one
   * element, the rows' streams and the counts position + 1 - behind. Without it nothing is drawn.
   */
  setStepDraws(
    step: StepHandle,
    key: DeviceInts,
    streams: DeviceInts,
    behind: DeviceInts,
    uniforms: DeviceFloats,
  ): void;
  /** Fills in what follows from the positions; runs that have not been read are forgotten. */
  placeStep(step: StepHandle): void;
  /**
   * Ends a step: chosen [rows] are the tokens that `sample` chooses of the logits [rows, V], and each row moves on to
   * its token. seen, bytes [rows, V]: not 0 where the penalty applies; null without a penalty. settings, float64
   * [penalty, temperature, top-k, top-p] in twice as many elements, may change from run to run, but for whether the
   * temperature is 0 and whether top-k cuts.
   */
  endStep(
    step: StepHandle,
    logits: DeviceFloats,
    chosen: DeviceInts,
    seen: DeviceInts | null,
    settings: DeviceInts,
    cutsTopK: boolean,
  ): void;

  /** New arrays come from the step's own memory from now on; null: no longer. */
  useStepArena(step: StepHandle | null): void;
  /** What is called from now on is recorded and not run; what waits for the GPU or needs new memory throws Error. */
  beginCapture(step: StepHandle): void;
  /** Throws Error where something in between could not be recorded. */
  endCapture(step: StepHandle): void;
  /** Counts a run of the step from JavaScript, all of which has been called. */
  markStep(step: StepHandle): void;
  /** Queues a run of what has been recorded. */
  replayStep(step: StepHandle): void;
  /** Waits for the oldest run that has not been read, and copies the tokens it chose. */
  readStep(step: StepHandle, ids: Int32Array): void;
  /** Waits for what is under way. */
  disposeStep(step: StepHandle): void;
}
