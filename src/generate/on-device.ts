import { setImmediate as nextTurn } from 'node:timers/promises';
import { fixedPositions, stepsShape, stepTokens } from '../model/device-steps.js';
import { newDecodeSteps, recordsSteps } from '../tensor/backends/decode-steps.js';
import { type DecodeRow, type DecodeSteps, formOf } from '../tensor/decode-steps.js';
import { noFiniteLogits } from '../tensor/sampling.js';
import * as tf from '../tensor/tfjs.js';
import type { Run } from './decode.js';
import { drawKey } from './random.js';
import type { Sequence } from './sequence.js';

/** Rows that a recorded step may have; fewer sequences fill up with copies of the last. */
const BATCH_ROWS = [1, 2, 4, 8, 16, 32];
/** Tokens that a row of a recorded step may have: one of these, or what the model can take. */
const LENGTH_TOKENS = [1024, 4096, 16384, 65536];
/** Recording runs the step twice in JavaScript; for fewer steps than this it is not worth it. */
const LEAST_STEPS = 4;

/** A stretch of steps that one recording serves. */
interface Stretch {
  readonly rows: number;
  readonly capacity: number;
  readonly steps: number;
  /** Tokens of a row after them at most. */
  readonly end: number;
}

/**
 * Decoding by steps that follow each other on the device, where the backend has such: JavaScript records one step
 * and then only asks for its tokens, while the next step is running already. The model keeps what is recorded, for
 * the next text with as many rows, as much room and as many kinds of choice.
 */
export class DeviceDecoding {
  readonly #run: Run;
  #works = recordsSteps();

  constructor(run: Run) {
    this.#run = run;
  }

  /**
   * Goes on with sequences as long as it can.
   *
   * @param active indices of the sequences, in the order of the cache's rows; each has a token to go on from
   * @returns those that have not ended, in the order of the rows then
   */
  async goOn(active: readonly number[]): Promise<readonly number[]> {
    let rows = active;
    while (this.#works) {
      const stretch = nextStretch(this.#run, rows);
      if (stretch === undefined) return rows;
      const { model } = this.#run;
      const key = keyOf(this.#run, stretch);
      const steps = model.kept.take<DecodeSteps>(key) ?? newSteps(this.#run, stretch);
      if (steps === undefined) return rows;
      try {
        this.#works = typeof steps.recorded !== 'string';
        if (this.#works) rows = await takeStretch(this.#run, steps, rows, stretch);
      } finally {
        if (steps.recorded === undefined) steps.dispose();
        else model.kept.give(key, steps);
      }
    }
    return rows;
  }
}

/** What steps for a stretch depend on. */
function keyOf(
  { model, options: { sampling, kvDtype } }: Run,
  { rows, capacity }: Stretch,
): readonly unknown[] {
  const form = formOf(sampling, model.config.vocabSize);
  return model.keyOf('steps', rows, capacity, kvDtype, ...Object.values(form));
}

/** Steps that are to be recorded; undefined where that is not worth it. */
function newSteps(
  { model: { config }, options }: Run,
  { rows, capacity, steps }: Stretch,
): DecodeSteps | undefined {
  if (steps < LEAST_STEPS) return undefined;
  const sampling = formOf(options.sampling, config.vocabSize);
  return newDecodeSteps(stepsShape(config, { rows, capacity, sampling }));
}

/**
 * Tokens that a row of a recorded step has room for.
 *
 * @param held tokens of a row before it
 * @param limit the most that the model can take
 */
export function stepCapacity(held: number, limit: number): number {
  const length = LENGTH_TOKENS.find((tokens) => tokens > held) ?? limit;
  return Math.min(length, limit);
}

/** What the next steps are; undefined where none can be recorded. */
function nextStretch(
  { model, cache, options, sequences }: Run,
  active: readonly number[],
): Stretch | undefined {
  const first = sequences[active[0] ?? -1];
  const rows = BATCH_ROWS.find((count) => count >= active.length);
  if (first === undefined || rows === undefined || options.logprobs !== undefined) return undefined;
  const held = Math.max(...cache.lengths);
  const capacity = stepCapacity(held, fixedPositions(model.config));
  const wanted = options.maxNewTokens - first.ids.length;
  const end = Math.min(capacity, held + wanted);
  const steps = end - held;
  return steps < 1 ? undefined : { rows, capacity, steps, end };
}

/** @returns the sequences that have not ended, in the order of the cache's rows then */
async function takeStretch(
  run: Run,
  steps: DecodeSteps,
  active: readonly number[],
  stretch: Stretch,
): Promise<readonly number[]> {
  const { cache } = run;
  const { rows, end } = stretch;
  const padded = Array.from({ length: rows }, (_, row) => Math.min(row, active.length - 1));
  if (rows > active.length) cache.select(padded);
  cache.reserve(end);
  const places = padded.map((row) => active[row] as number);
  const left = await takeSteps(run, steps, places, stretch);
  const ended = left.length < rows;
  if (ended && left.length > 0) cache.select(left.map((index) => active.indexOf(index)));
  return left;
}

/**
 * @param places the sequence of each row, copies of the last one behind
 * @returns the sequences that have not ended
 */
async function takeSteps(
  run: Run,
  steps: DecodeSteps,
  places: readonly number[],
  stretch: Stretch,
): Promise<readonly number[]> {
  const { cache, options, sequences } = run;
  firstStep(run, steps, places);
  let inputs = places.map((index) => sequences[index]?.ids.at(-1) as number);
  let left = [...new Set(places)];
  const last = steps.recorded === true ? stretch.steps : 1;
  for (let taken = 1; taken <= last; taken++) {
    if (taken < last) steps.replay();
    const ids = Array.from(steps.read());
    cache.advance(inputs.map((id) => [id]));
    inputs = ids;
    for (const index of left) push(sequences[index] as Sequence, ids[places.indexOf(index)]);
    left = left.filter((index) => sequences[index]?.finishReason === undefined);
    // So few rows are left that a smaller recording serves them.
    if (left.length <= stretch.rows / 2) break;
    await nextTurn();
    options.signal?.throwIfAborted();
  }
  return left;
}

function firstStep(
  { model, cache, options, sequences }: Run,
  steps: DecodeSteps,
  places: readonly number[],
): void {
  const { sampling, seed, onWarning } = options;
  const rows = places.map((index, row) => rowOf(sequences, index, cache.lengths[row] as number));
  steps.place({ rows, caches: cache.layers, sampling, drawKey: drawKey(seed) });
  if (steps.recorded === true) {
    steps.replay();
    return;
  }
  const recorded = steps.record(() =>
    tf.tidy(() => steps.end(model.step(stepTokens(steps), cache))),
  );
  if (recorded !== true) onWarning?.(`decoding step by step, which is slower: ${recorded}`);
}

function rowOf(sequences: readonly Sequence[], index: number, position: number): DecodeRow {
  const { ids, seen } = sequences[index] as Sequence;
  return { id: ids.at(-1) as number, position, stream: index, drawn: ids.length, seen };
}

function push(sequence: Sequence, id: number | undefined): void {
  if (id === undefined || id < 0) throw noFiniteLogits();
  sequence.push(id);
}
