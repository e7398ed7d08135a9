/** What may be shown after a piece of text, and whether a stop string ended it. */
export interface StopResult {
  readonly text: string;
  readonly stopped: boolean;
}

/** Cuts a stream of text before the first stop string, also where one spans several pieces. */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** Takes the next piece; holds back an end that may be the beginning of a stop string. */
  push(piece: string): StopResult {
    const text = this.#held + piece;
    const at = Math.min(...this.#stops.map((stop) => text.indexOf(stop)).filter((i) => i >= 0));
    if (at !== Number.POSITIVE_INFINITY) {
      this.#held = '';
      return { text: text.slice(0, at), stopped: true };
    }
    const keep = text.length - this.#openLength(text);
    this.#held = text.slice(keep);
    return { text: text.slice(0, keep), stopped: false };
  }

  /** What was held back: nothing came after it. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  /** Length of the longest end of the text that begins a stop string. */
  #openLength(text: string): number {
    const lengths = this.#stops.map((stop) => {
      let length = Math.min(stop.length - 1, text.length);
      while (length > 0 && !text.endsWith(stop.slice(0, length))) length--;
      return length;
    });
    return Math.max(0, ...lengths);
  }
}
