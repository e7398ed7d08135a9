import { findLlamaCpp, type LlamaCpp } from './llama-cpp.js';
import { type NodeLlamaCpp, openNodeLlamaCpp } from './node-llama-cpp.js';
import { openPyTorch, type PyTorch } from './pytorch.js';

/** The peers that are there. */
export interface Peers {
  readonly llamaCpp: LlamaCpp;
  readonly nodeLlamaCpp: NodeLlamaCpp | undefined;
  readonly pyTorch: PyTorch | undefined;
}

/** No peers at all. */
export const NO_PEERS: Peers = {
  llamaCpp: {
    bench: undefined,
    batchedBench: undefined,
    perplexity: undefined,
    quantize: undefined,
  },
  nodeLlamaCpp: undefined,
  pyTorch: undefined,
};

/** Looks for every peer. @param onMissing told why one is left out */
export async function findPeers(root: string, onMissing: (why: string) => void): Promise<Peers> {
  const llamaCpp = findLlamaCpp();
  const missing = Object.entries(llamaCpp).filter(([, path]) => path === undefined);
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
