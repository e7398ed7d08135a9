import { deviceMemory, PAGED_PLACES } from '../tensor/backends/device-memory.js';

/** The parameters whose values, gradients or optimizer states have their home on the host. */
export interface Paging {
  readonly states: ReadonlySet<string>;
  readonly gradients: ReadonlySet<string>;
  readonly weights: ReadonlySet<string>;
  /** Bytes of the tensors that are trained, of their gradients and states, and how many of them are on the host. */
  readonly bytes: { readonly all: number; readonly onHost: number };
}

/** What a device has to hold, in bytes. */
export interface PagingNeeds {
  /** Elements of each parameter. */
  readonly sizes: ReadonlyMap<string, number>;
  /** Of an element's states. */
  readonly stateBytes: number;
  /** Of all else: activations, and what an op makes. */
  readonly workingBytes: number;
}

const FLOAT_BYTES = 4;
/** Smaller tensors stay on the device: a copy of its own costs more than their room. */
const FEWEST_ELEMENTS = 1 << 14;

/**
 * What of a training goes to the host, where the device has a memory of its own and not all of it fits: first states,
 * which each step uses once, then gradients, then weights.
 */
export function planPaging(needs: PagingNeeds): Paging | undefined {
  const memory = deviceMemory();
  if (!memory) return undefined;
  const { sizes, stateBytes, workingBytes } = needs;
  const all = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  const allBytes = all * (stateBytes + 2 * FLOAT_BYTES);
  let missing = allBytes + workingBytes - memory.freeBytes();
  const largest = Math.max(0, ...sizes.values()) * FLOAT_BYTES;
  if (missing > 0) missing += PAGED_PLACES * largest;
  let onHost = 0;
  const choose = (elementBytes: number) => {
    const chosen = new Set<string>();
    for (const [name, size] of sizes) {
      if (onHost >= missing) break;
      if (size < FEWEST_ELEMENTS) continue;
      chosen.add(name);
      onHost += size * elementBytes;
    }
    return chosen;
  };
  const states = choose(stateBytes);
  const gradients = choose(FLOAT_BYTES);
  const weights = choose(FLOAT_BYTES);
  return { states, gradients, weights, bytes: { all: allBytes, onHost } };
}
