import { LlmkitError } from '../errors.js';
import { PythonRandom } from './python-random.js';
import type { EvalDocument } from './task.js';

/** Draws solved examples as lm-evaluation-harness's default sampler does: one sequence of draws for all documents. */
export class FewShotSampler {
  readonly #random: PythonRandom;
  readonly #pool: readonly EvalDocument[];
  readonly #keys = new WeakMap<EvalDocument, string>();

  constructor(pool: readonly EvalDocument[], seed: number) {
    this.#pool = pool;
    this.#random = new PythonRandom(seed);
  }

  /** `count` examples other than the evaluated document: one more is drawn, and the document left out. */
  draw(count: number, evaluated: EvalDocument): readonly EvalDocument[] {
    if (count === 0) return [];
    const others = (pool: readonly EvalDocument[]) =>
      pool.filter((document) => this.#key(document) !== this.#key(evaluated));
    const drawn = others(this.#sample(this.#pool, count + 1)).slice(0, count);
    return drawn.length === count ? drawn : this.#sample(others(this.#pool), count);
  }

  #sample(pool: readonly EvalDocument[], count: number): EvalDocument[] {
    if (count > pool.length) {
      throw new LlmkitError(
        'config',
        `few-shot examples: expected at least ${count} documents to draw from, got ${pool.length}; lower --num-fewshot`,
      );
    }
    return this.#random.sample(pool, count);
  }

  /** Equal for equal fields, whatever their order. */
  #key(document: EvalDocument): string {
    const known = this.#keys.get(document);
    if (known !== undefined) return known;
    const key = JSON.stringify(
      Object.entries(document.fields).sort(([a], [b]) => (a < b ? -1 : 1)),
    );
    this.#keys.set(document, key);
    return key;
  }
}
