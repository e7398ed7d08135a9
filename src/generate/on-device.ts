import { setImmediate as nextTurn } from 'node:timers/promises';
import { mostRecordedPositions, stepInputs, stepTokens } from '../model/device-steps.js';
import { newDecodeSteps, recordsSteps } from '../tensor/backends/decode-steps.js';
import type { DecodeRow, DecodeSteps } from '../tensor/decode-steps.js';
import { noFiniteLogits } from '../tensor/sampling.js';
import * as tf from '../tensor/tfjs.js';
import type { Run } from './decode.js';
import { drawKey } from './random.js';
import type { Sequence } from './sequence.js';

/** Rows that a recorded step may have; fewer sequences fill up with copies of the last. */
const BATCH_ROWS = [1, 2, 4, 8, 16, 32];
/** Tokens per row that room is made for, so that a recorded step stays right while the rows grow. */
const LENGTH_TOKENS = [1024, 4096, 16384, 65536];
/** Recording runs the step twice in JavaScript; fewer steps than this are not worth it. */
const LEAST_STEPS = 4;

/** A stretch of steps that one recording serves. */
interface Stretch {
  readonly rows: number;
  readonly capacity: number;
  readonly steps: number;
}

/**
 * Decoding by steps that follow each other on the device, where the backend has such: JavaScript records one step
 * and then only asks for its tokens, while the next step is running already.
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
      rows = await this.#stretch(rows, stretch);
    }
    return rows;
  }

  async #stretch(active: readonly number[], stretch: Stretch): Promise<readonly number[]> {
    const { model, cache, options } = this.#run;
    const { rows, capacity } = stretch;
    const { sampling, seed } = options;
    const inputs = stepInputs(model.config, capacity);
    const steps = newDecodeSteps({ ...inputs, rows, sampling, drawKey: drawKey(seed) });
    try {
      const padded = Array.from({ length: rows }, (_, row) => Math.min(row, active.length - 1));
      if (rows > active.length) cache.select(padded);
      cache.reserve(capacity);
      const places = padded.map((row) => active[row] as number);
      const { left, problem } = await takeSteps(this.#run, steps, places, stretch);
      if (left.length > 0) cache.select(left.map((index) => active.indexOf(index)));
      if (problem === undefined) return left;
      this.#works = false;
      options.onWarning?.(`decoding step by step, which is slower: ${problem}`);
      return left;
    } finally {
      steps.dispose();
    }
  }
}

/** What the next recording is made for; undefined where none is worth it. */
function nextStretch(
  { model, cache, options, sequences }: Run,
  active: readonly number[],
): Stretch | undefined {
  const first = sequences[active[0] ?? -1];
  const rows = BATCH_ROWS.find((count) => count >= active.length);
  if (first === undefined || rows === undefined || options.logprobs !== undefined) return undefined;
  const held = Math.max(...cache.lengths);
  const limit = mostRecordedPositions(model.config);
  const length = LENGTH_TOKENS.find((tokens) => tokens > held) ?? held;
  const wanted = options.maxNewTokens - first.ids.length;
  const capacity = Math.min(length, limit, held + wanted);
  const steps = capacity - held;
  return steps < LEAST_STEPS ? undefined : { rows, capacity, steps };
}

/** What came of a stretch: the sequences that have not ended, and why no more steps were taken. */
interface Taken {
  readonly left: readonly number[];
  readonly problem: string | undefined;
}

/** @param places the sequence of each row, copies of the last one behind */
async function takeSteps(
  run: Run,
  steps: DecodeSteps,
  places: readonly number[],
  stretch: Stretch,
): Promise<Taken> {
  const { cache, options, sequences } = run;
  steps.place(places.map((index, row) => rowOf(sequences, index, cache.lengths[row] as number)));
  const problem = steps.record(() => oneStep(run, steps, stretch.rows));
  let inputs = places.map((index) => sequences[index]?.ids.at(-1) as number);
  let left = [...new Set(places)];
  const last = problem === undefined ? stretch.steps : 1;
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
  return { left, problem };
}

function oneStep({ model, cache }: Run, steps: DecodeSteps, rows: number): void {
  tf.tidy(() => {
    const hidden = model.step(stepTokens(steps), cache);
    const logits = model.logits(tf.reshape(hidden, [rows, hidden.shape[2]]));
    steps.end(logits as tf.Tensor2D);
  });
}

function rowOf(sequences: readonly Sequence[], index: number, position: number): DecodeRow {
  const { ids, seen } = sequences[index] as Sequence;
  return { id: ids.at(-1) as number, position, stream: index, drawn: ids.length, seen };
}

function push(sequence: Sequence, id: number | undefined): void {
  if (id === undefined || id < 0) throw noFiniteLogits();
  sequence.push(id);
}
