import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Placed } from './logprobs.js';
import { StopMatcher } from './stop.js';

/** Why a text ended: by itself or a stop string, or because it was long enough. */
export type FinishReason = 'stop' | 'length';

/** What a sequence needs to know. */
export interface SequenceOptions {
  readonly tokenizer: Tokenizer;
  readonly promptIds: readonly number[];
  readonly maxNewTokens: number;
  readonly stop: readonly string[];
  /** The text begins with the prompt's. */
  readonly echo: boolean;
  /** Told each piece of text that is final. */
  readonly onText?: ((text: string) => void) | undefined;
}

/** One text being written: its ids, its text so far, and whether it has ended. */
export class Sequence {
  /** New ids, the end-of-sequence id included. */
  readonly ids: number[] = [];
  /** Ids of the prompt and the new ones. */
  readonly seen: Set<number>;
  /** The finished text so far: cut before a stop string, no character split. */
  text = '';
  finishReason: FinishReason | undefined;
  /** Probabilities of the new ids, where they are asked for. */
  readonly placed: Placed[] = [];
  /** Where each id's text begins, in code points: the prompt's ids first under `echo`. */
  readonly offsets: number[] = [];
  readonly #options: SequenceOptions;
  readonly #stops: StopMatcher;
  readonly #decoder: ReturnType<Tokenizer['streamDecoder']>;
  /** Code points decoded so far, held-back ones included. */
  #decoded = 0;

  constructor(options: SequenceOptions) {
    this.#options = options;
    this.seen = new Set(options.promptIds);
    this.#stops = new StopMatcher(options.stop);
    this.#decoder = options.tokenizer.streamDecoder();
    for (const id of options.promptIds) {
      const offset = this.#decoded;
      const piece = this.#decoder.push(id);
      if (!options.echo) continue;
      this.offsets.push(offset);
      this.#decoded += countCodePoints(piece);
      this.#emit(piece);
    }
    if (options.maxNewTokens === 0) this.#finish('length');
  }

  /** Adds a generated id; may finish the sequence. */
  push(id: number): void {
    const { tokenizer, maxNewTokens } = this.#options;
    this.ids.push(id);
    this.seen.add(id);
    this.offsets.push(this.#decoded);
    if (tokenizer.eosIds.includes(id)) {
      this.#finish('stop');
      return;
    }
    this.#take(this.#decoder.push(id));
    if (!this.finishReason && this.ids.length >= maxNewTokens) this.#finish('length');
  }

  /** Where ids begin in the text: those after a stop string begin at its end. */
  textOffsets(): number[] {
    const length = countCodePoints(this.text);
    return this.offsets.map((offset) => Math.min(offset, length));
  }

  #take(piece: string): void {
    this.#decoded += countCodePoints(piece);
    const { text, stopped } = this.#stops.push(piece);
    this.#emit(text);
    if (stopped) this.finishReason = 'stop';
  }

  #finish(reason: FinishReason): void {
    this.#take(this.#decoder.flush());
    this.#emit(this.#stops.flush());
    this.finishReason ??= reason;
  }

  #emit(text: string): void {
    if (text === '') return;
    this.text += text;
    this.#options.onText?.(text);
  }
}

function countCodePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
