import { findLlamaCpp, type LlamaCpp, openIkLlamaCpp } from './llama-cpp.js';
import { type NodeLlamaCpp, openNodeLlamaCpp } from './node-llama-cpp.js';
import { openPyTorch, type PyTorch } from './pytorch.js';

/** The peers that are there. */
export interface Peers {
  readonly llamaCpp: LlamaCpp;
  readonly ikLlamaCpp: LlamaCpp | undefined;
  readonly nodeLlamaCpp: NodeLlamaCpp | undefined;
  readonly pyTorch: PyTorch | undefined;
}

/** No peers at all. */
export const NO_PEERS: Peers = {
  llamaCpp: {
    name: 'llama.cpp',
    bench: undefined,
    batchedBench: undefined,
    perplexity: undefined,
    quantize: undefined,
  },
  ikLlamaCpp: undefined,
  nodeLlamaCpp: undefined,
  pyTorch: undefined,
};

/** Looks for every peer. @param onMissing told why one is left out */
export async function findPeers(root: string, onMissing: (why: string) => void): Promise<Peers> {
  const llamaCpp = findLlamaCpp();
  const missing = Object.entries(llamaCpp).filter(([, program]) => program === undefined);
  if (missing.length > 0) {
    onMissing(`llama.cpp: not on PATH: ${missing.map(([name]) => PROGRAMS[name]).join(', ')}`);
  }
  const optional = async <T>(name: string, open: Promise<T>): Promise<T | undefined> => {
    try {
      return await open;
    } catch (error) {
      onMissing(`${name}: ${(error as Error).message.split('\n').at(-1)}`);
      return undefined;
    }
  };
  return {
    llamaCpp,
    ikLlamaCpp: await optional('ik_llama.cpp', openIkLlamaCpp()),
    nodeLlamaCpp: await optional('node-llama-cpp', openNodeLlamaCpp(root)),
    pyTorch: await optional('PyTorch', openPyTorch(root)),
  };
}

const PROGRAMS: Readonly<Record<string, string>> = {
  bench: 'llama-bench',
  batchedBench: 'llama-batched-bench',
  perplexity: 'llama-perplexity',
  quantize: 'llama-quantize',
};

/** llama.cpp and the forks of it whose benchmarks can be run. */
export function llamaCpps({ llamaCpp, ikLlamaCpp }: Peers): readonly LlamaCpp[] {
  return ikLlamaCpp ? [llamaCpp, ikLlamaCpp] : [llamaCpp];
}
