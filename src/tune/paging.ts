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
  /** Of each parameter: its elements, and the bytes of its states. */
  readonly parameters: ReadonlyMap<string, { readonly size: number; readonly stateBytes: number }>;
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
  const parameters = [...needs.parameters].map(([name, { size, stateBytes }]) => {
    return { name, size, stateBytes, bytes: size * FLOAT_BYTES };
  });
  const all = parameters.reduce((sum, { bytes, stateBytes }) => sum + 2 * bytes + stateBytes, 0);
  const largest = Math.max(0, ...parameters.map(({ bytes }) => bytes));
  let missing = all + needs.workingBytes - memory.freeBytes();
  if (missing > 0) missing += PAGED_PLACES * largest;
  let onHost = 0;
  const choose = (what: 'stateBytes' | 'bytes') => {
    const chosen = new Set<string>();
    for (const parameter of parameters) {
      if (onHost >= missing) break;
      if (parameter.size < FEWEST_ELEMENTS) continue;
      chosen.add(parameter.name);
      onHost += parameter[what];
    }
    return chosen;
  };
  const [states, gradients, weights] = [choose('stateBytes'), choose('bytes'), choose('bytes')];
  return { states, gradients, weights, bytes: { all, onHost } };
}
