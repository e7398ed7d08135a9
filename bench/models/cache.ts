import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { QuantizeJob } from '../llmkit/quantize.js';
import { runChild } from '../measure/child.js';
import { findTool } from '../measure/tools.js';
import { driverPath, libraryPath } from '../paths.js';
import { writeCheckpoint } from './checkpoint.js';
import { writeGgufModel } from './gguf-model.js';
import type { Shape } from './shape.js';
import { benchTokenizer } from './tokenizer.js';

/** How the matrices of a checkpoint are stored. */
export type Weights = 'bf16' | 'int4' | 'nf4';

/** How the matrices of a GGUF file are stored. */
export type GgufWeights = 'BF16' | 'Q4_0' | 'Q4_K_M';

/** Models with random weights, made once and kept. */
export interface ModelCache {
  /** Folder of the whole cache. */
  readonly folder: string;
  /** A checkpoint's folder. int4 in groups of `groupSize`, nf4 in 64s; the head is quantized too. */
  checkpoint(shape: Shape, weights: Weights, groupSize: number): Promise<string>;
  /** A GGUF file; undefined for what only llama-quantize can make when there is none. */
  gguf(shape: Shape, weights: GgufWeights): Promise<string | undefined>;
}

/** Opens the cache below a folder. @param root the repository's */
export function openModelCache(root: string, folder: string): ModelCache {
  mkdirSync(folder, { recursive: true });
  const place = (name: string, make: (path: string) => Promise<void>) =>
    makeOnce(join(folder, name), make);
  const base = (shape: Shape) =>
    place(`${shape.name}-bf16`, (path) =>
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
      const scheme = weights === 'int4' ? { scheme: weights, groupSize } : { scheme: weights };
      const name = weights === 'int4' ? `int4-g${groupSize}` : weights;
      return place(`${shape.name}-${name}`, (output) =>
        quantize(root, { model: source, output, ...scheme }),
      );
    },
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

async function quantize(root: string, job: Omit<QuantizeJob, 'library'>): Promise<void> {
  const whole: QuantizeJob = { ...job, library: libraryPath(root) };
  await runChild(process.execPath, [driverPath(root, 'quantize'), JSON.stringify(whole)]);
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
