import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runChild } from '../measure/child.js';
import { findTool } from '../measure/tools.js';
import { programPath } from '../paths.js';
import { writeCheckpoint } from './checkpoint.js';
import { writeGgufModel } from './gguf-model.js';
import type { Shape } from './shape.js';
import { benchTokenizer } from './tokenizer.js';

/** How the matrices of a checkpoint are stored. */
export type Weights = 'bf16' | 'int4' | 'nf4';

/** How the output projection of a quantized checkpoint is stored: a tied one as in llama.cpp's file, where it has 8 bits too. */
export function headScheme(
  { tied }: Shape,
  weights: Exclude<Weights, 'bf16'>,
): 'int4' | 'int8' | 'nf4' {
  return tied && weights === 'int4' ? 'int8' : weights;
}

/** How the matrices of a GGUF file are stored. */
export type GgufWeights = 'BF16' | 'Q4_0' | 'Q4_K_M';

/** Models with random weights, made once and kept. */
export interface ModelCache {
  /** Folder of the whole cache. */
  readonly folder: string;
  /** A checkpoint's folder. int4 in groups of `groupSize`, nf4 in 64s; the head by `headScheme`. */
  checkpoint(shape: Shape, weights: Weights, groupSize: number): Promise<string>;
  /** Whether that checkpoint is made already. */
  hasCheckpoint(shape: Shape, weights: Weights, groupSize: number): boolean;
  /** A GGUF file; undefined for what only llama-quantize can make when there is none. */
  gguf(shape: Shape, weights: GgufWeights): Promise<string | undefined>;
}

/** Opens the cache below a folder. @param root the repository's */
export function openModelCache(root: string, folder: string): ModelCache {
  mkdirSync(folder, { recursive: true });
  const place = (name: string, make: (path: string) => Promise<void>) =>
    makeOnce(join(folder, name), make);
  const base = (shape: Shape) =>
    place(checkpointName(shape, 'bf16', 0), (path) =>
      writeCheckpoint(path, shape, benchTokenizer(root, shape.vocab)),
    );
  const ggufBase = (shape: Shape, type: 'BF16' | 'Q4_0') => (path: string) =>
    writeGgufModel(path, shape, { type, tokenizer: benchTokenizer(root, shape.vocab) });
  const bf16Gguf = (shape: Shape) => place(`${shape.name}-bf16.gguf`, ggufBase(shape, 'BF16'));
  return {
    folder,
    async checkpoint(shape, weights, groupSize) {
      const source = await base(shape);
      if (weights === 'bf16') return source;
      const head = headScheme(shape, weights);
      const flags = ['--scheme', weights, '--head', head];
      if (weights === 'int4') flags.push('--group-size', String(groupSize));
      return place(checkpointName(shape, weights, groupSize), (output) =>
        quantize(root, [source, '-o', output, ...flags]),
      );
    },
    hasCheckpoint: (shape, weights, groupSize) =>
      existsSync(join(folder, checkpointName(shape, weights, groupSize))),
    async gguf(shape, weights) {
      if (weights === 'BF16') return bf16Gguf(shape);
      const name = `${shape.name}-${weights.toLowerCase()}`;
      const tool = findTool('llama-quantize');
      if (tool === undefined) {
        if (weights !== 'Q4_0') return undefined;
        return place(`${name}-own.gguf`, ggufBase(shape, weights));
      }
      const source = await bf16Gguf(shape);
      return place(`${name}.gguf`, async (path) => {
        await runChild(tool, [source, path, weights]);
      });
    },
  };
}

/** The folder of a checkpoint, with what its bytes depend on. @param groupSize of int4 alone */
function checkpointName(shape: Shape, weights: Weights, groupSize: number): string {
  const stored = `${shape.name}-${weights}`;
  if (weights === 'bf16') return stored;
  const head = headScheme(shape, weights);
  const group = weights === 'int4' ? `-g${groupSize}` : '';
  return `${stored}${group}${head === weights ? '' : `-${head}-head`}`;
}

async function quantize(root: string, args: readonly string[]): Promise<void> {
  await runChild(process.execPath, [programPath(root), 'quantize', ...args]);
}

/** Makes a file or folder under another name first, so that half of one is never taken for it. */
async function makeOnce(path: string, make: (path: string) => Promise<void>): Promise<string> {
  if (existsSync(path)) return path;
  process.stderr.write(`making ${path}\n`);
  const unfinished = `${path}.unfinished`;
  rmSync(unfinished, { recursive: true, force: true });
  await make(unfinished);
  renameSync(unfinished, path);
  return path;
}
