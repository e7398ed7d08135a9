import { deviceMemory, type Spare } from '../tensor/backends/device-memory.js';

/** So many are kept; a batch that ends row by row goes through steps of six sizes. */
const MOST_KEPT = 8;

interface Idle {
  readonly key: readonly unknown[];
  readonly value: { dispose(): void };
}

/**
 * What was dear to make and may be used again: caches and recorded steps, each under a key of all that it depends
 * on. Those used last are kept, and fewer where a device has no memory left.
 */
export class Kept implements Spare {
  /** Oldest first. */
  readonly #idle: Idle[] = [];
  /** Where it is asked to let go of some. */
  readonly #devices = new Set<Set<Spare>>();

  /** What was given under an equal key, and is the caller's from now on; undefined where there is none. */
  take<T extends Idle['value']>(key: readonly unknown[]): T | undefined {
    const index = this.#idle.findLastIndex((idle) => sameItems(idle.key, key));
    return index < 0 ? undefined : (this.#idle.splice(index, 1)[0]?.value as T);
  }

  /** Takes over what nobody uses at the moment. */
  give(key: readonly unknown[], value: Idle['value']): void {
    const spares = deviceMemory()?.spares;
    if (spares !== undefined) this.#devices.add(spares.add(this));
    this.#idle.push({ key, value });
    if (this.#idle.length > MOST_KEPT) this.dropOldest();
  }

  dropOldest(): boolean {
    const oldest = this.#idle.shift();
    oldest?.value.dispose();
    return oldest !== undefined;
  }

  /** Frees all that is kept. */
  dispose(): void {
    while (this.dropOldest());
    for (const spares of this.#devices) spares.delete(this);
    this.#devices.clear();
  }
}

/** Whether two lists are of the same objects and numbers in the same order. */
export function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a === b || (a.length === b.length && a.every((item, i) => item === b[i]));
}
