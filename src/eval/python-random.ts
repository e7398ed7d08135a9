const SIZE = 624;
const SHIFT = 397;

/**
 * CPython's `random.Random(seed)`, bit for bit: the Mersenne Twister MT19937 and `sample`.
 *
 * @see http://www.math.sci.hiroshima-u.ac.jp/m-mat/MT/ARTICLES/mt.pdf
 */
export class PythonRandom {
  readonly #state: Uint32Array;
  #next = SIZE;

  /** @param seed 0 to 2³²-1 */
  constructor(seed: number) {
    this.#state = seededState(seed);
  }

  /** `k` different elements in the order of drawing, as `Random.sample` draws them. */
  sample<Item>(population: readonly Item[], k: number): Item[] {
    const n = population.length;
    if (k > n) throw new RangeError(`sample: ${k} of ${n}`);
    return (n <= largestPool(k) ? this.#poolIndices(n, k) : this.#freshIndices(n, k)).map(
      (index) => population[index] as Item,
    );
  }

  /** Draws from a pool that closes the gap of each drawn element with its last one. */
  #poolIndices(n: number, k: number): number[] {
    const pool = Array.from({ length: n }, (_, i) => i);
    return Array.from({ length: k }, (_, i) => {
      const place = this.#below(n - i);
      const drawn = pool[place] as number;
      pool[place] = pool[n - i - 1] as number;
      return drawn;
    });
  }

  /** Draws again what was drawn before. */
  #freshIndices(n: number, k: number): number[] {
    const drawn = new Set<number>();
    while (drawn.size < k) drawn.add(this.#below(n));
    return [...drawn];
  }

  /** 0 to n-1: as many high bits as n has, again while they are too large. */
  #below(n: number): number {
    const unused = Math.clz32(n);
    let value = this.#uint32() >>> unused;
    while (value >= n) value = this.#uint32() >>> unused;
    return value;
  }

  #uint32(): number {
    if (this.#next === SIZE) {
      twist(this.#state);
      this.#next = 0;
    }
    let y = this.#state[this.#next++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }
}

/** A list of this length or less is cheaper to copy than a set of k is to keep. */
function largestPool(k: number): number {
  return k > 5 ? 21 + 4 ** Math.ceil(Math.log(k * 3) / Math.log(4)) : 21;
}

/** `init_by_array` of the one-element key [seed]. */
function seededState(seed: number): Uint32Array {
  const state = new Uint32Array(SIZE);
  const at = (i: number) => state[i] as number;
  const mixed = (i: number, factor: number) => Math.imul(at(i - 1) ^ (at(i - 1) >>> 30), factor);
  state[0] = 19650218;
  for (let i = 1; i < SIZE; i++) state[i] = mixed(i, 1812433253) + i;
  let i = 1;
  const advance = () => {
    if (++i < SIZE) return;
    state[0] = at(SIZE - 1);
    i = 1;
  };
  for (let step = 0; step < SIZE; step++, advance()) state[i] = (at(i) ^ mixed(i, 1664525)) + seed;
  for (let step = 1; step < SIZE; step++, advance()) state[i] = (at(i) ^ mixed(i, 1566083941)) - i;
  state[0] = 0x80000000;
  return state;
}

function twist(state: Uint32Array): void {
  const at = (i: number) => state[i % SIZE] as number;
  for (let i = 0; i < SIZE; i++) {
    const y = (at(i) & 0x80000000) | (at(i + 1) & 0x7fffffff);
    state[i] = at(i + SHIFT) ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
  }
}
