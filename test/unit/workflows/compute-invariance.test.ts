import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { describeCompute } from '../../../src/model/describe-compute.js';
import { loadModel } from '../../../src/model/load.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import type { ComputeChoice } from '../../../src/tensor/compute.js';
import type { KvDtype } from '../../../src/tensor/kv-dtype.js';
import { tidy } from '../../../src/tensor/tfjs.js';
import { quantizeOnLoad } from '../../../src/workflows/training/quantize-on-load.js';
import { testedBackends } from '../../helpers/backends.js';

/** A model, what it is quantized to, asked to compute in, and does compute in. */
interface Case {
  /** Left out: the bundled one. */
  readonly model?: string;
  readonly scheme: string | undefined;
  readonly options?: { readonly asymmetric?: boolean; readonly double_quant?: boolean };
  readonly choice: ComputeChoice;
  readonly computes: string;
}

const ASYMMETRIC = { asymmetric: true };

const CASES: readonly Case[] = [
  { scheme: undefined, choice: 'f32', computes: 'f32 (bf16 weights)' },
  { scheme: undefined, choice: 'bf16', computes: 'bf16 (bf16 weights)' },
  { scheme: 'nf4', choice: 'bf16', computes: 'bf16 (nf4, bf16 weights)' },
  { scheme: 'int4', choice: 'bf16', computes: 'bf16 (int4, bf16 weights)' },
  {
    scheme: 'nf4',
    choice: 'bf16-dequantized',
    computes: 'bf16-dequantized (nf4 weights), bf16 (bf16 weights)',
  },
  { scheme: 'int4', choice: 'int8', computes: 'int8 (int4 weights), bf16 (bf16 weights)' },
  { scheme: 'int8', choice: 'int8', computes: 'int8 (int8 weights), bf16 (bf16 weights)' },
  {
    model: 'tiny-llama',
    scheme: undefined,
    choice: 'bf16',
    computes: 'f32 (f32 weights)',
  },
  { scheme: 'int4', choice: 'f32', computes: 'f32 (int4, bf16 weights)' },
  { scheme: 'int8', choice: 'bf16', computes: 'bf16 (int8, bf16 weights)' },
  { scheme: 'fp4', choice: 'bf16', computes: 'bf16 (fp4, bf16 weights)' },
  {
    scheme: 'nf4',
    options: { double_quant: true },
    choice: 'bf16',
    computes: 'bf16 (nf4, bf16 weights)',
  },
  { scheme: 'int4', options: ASYMMETRIC, choice: 'bf16', computes: 'bf16 (int4, bf16 weights)' },
  {
    scheme: 'int4',
    options: ASYMMETRIC,
    choice: 'int8',
    computes: 'int8 (int4 weights), bf16 (bf16 weights)',
  },
  {
    scheme: 'int8',
    options: ASYMMETRIC,
    choice: 'int8',
    computes: 'int8 (int8 weights), bf16 (bf16 weights)',
  },
];

/** Lengths that leave every kind of rest, the longest beyond one page of the cache. */
const ROWS = [70, 1, 33, 17, 2, 48, 5, 64].map((length, row) =>
  Array.from({ length }, (_, i) => (7919 * (i + 1) * (row + 3)) % 67),
);
const [LONGEST = []] = ROWS;
const OTHER = [...LONGEST].reverse();

async function open({ model = 'tales-2m', scheme, options, choice }: Case): Promise<Decoder> {
  const checkpoint = await openCheckpoint(`fixtures/models/${model}`);
  const quantization = scheme === undefined ? undefined : { scheme, ...options };
  const wish = { load_in_4bit: scheme !== undefined, quantization };
  const compute = { choice, use: 'generate' } as const;
  return loadModel(checkpoint, { ...quantizeOnLoad(wish, checkpoint), compute });
}

/** Bits of the logits of each row's own positions. */
function logitsOf(model: Decoder, rows: readonly number[][]): Uint32Array[] {
  const all = tidyValues(() => model.logits(model.forward(rows.map((ids) => ({ ids })))));
  const longest = Math.max(...rows.map(({ length }) => length));
  const width = model.config.vocabSize;
  return rows.map(({ length }, b) =>
    all.slice(b * longest * width, (b * longest + length) * width),
  );
}

/** Bits of the first row's logits, rows of one length being fed to a cache in pieces of these lengths. */
function cachedLogits(
  model: Decoder,
  rows: readonly (readonly number[])[],
  lengths: readonly number[],
  dtype: KvDtype = 'f32',
): Uint32Array {
  const cache = model.newCache(rows.length, dtype);
  let start = 0;
  const pieces = lengths.map((length) => {
    const piece = rows.map((ids) => ({ ids: ids.slice(start, start + length) }));
    start += length;
    const all = tidyValues(() => model.logits(model.forward(piece, { cache })));
    return all.slice(0, length * model.config.vocabSize);
  });
  cache.dispose();
  expect(start).toBe(rows[0]?.length);
  return Uint32Array.from(pieces.flatMap((piece) => [...piece]));
}

function tidyValues(fn: () => ReturnType<Decoder['logits']>): Uint32Array {
  let bits = new Uint32Array();
  tidy(() => {
    bits = new Uint32Array((fn().dataSync() as Float32Array).slice().buffer);
  });
  return bits;
}

function expectSame(actual: Uint32Array, expected: Uint32Array, what: string): void {
  expect(actual.length, what).toBe(expected.length);
  expect(
    actual.findIndex((bits, i) => bits !== expected[i]),
    what,
  ).toBe(-1);
}

describe.runIf(testedBackends.includes('native'))('logits', () => {
  test.each(CASES)(
    '$scheme $options, $computes: the same bits in any batch, chunk and thread',
    async (one) => {
      await useBackend('native', { device: 'cpu', threads: 2 });
      const model = await open(one);
      expect(describeCompute(model)).toBe(one.computes);
      const alone = ROWS.flatMap((ids) => logitsOf(model, [ids]));
      const whole = alone[0] as Uint32Array;
      expect(new Float32Array(whole.buffer).every(Number.isFinite)).toBe(true);
      for (const threads of [1, 2]) {
        await useBackend('native', { device: 'cpu', threads });
        logitsOf(model, ROWS).forEach((bits, b) => {
          expectSame(
            bits,
            alone[b] as Uint32Array,
            `row ${b} of a padded batch, ${threads} threads`,
          );
        });
        const [again] = logitsOf(model, [LONGEST]);
        expectSame(again as Uint32Array, whole, `alone, ${threads} threads`);
        const prompt = cachedLogits(model, [LONGEST], [16, 1, 33, 20]);
        expectSame(prompt, whole, `a prompt in chunks, ${threads} threads`);
        const decode = cachedLogits(model, [LONGEST], [40, ...new Array<number>(30).fill(1)]);
        expectSame(decode, whole, `token by token, ${threads} threads`);
      }
      for (const dtype of ['bf16', 'int8'] as const) {
        const prompt = cachedLogits(model, [LONGEST], [70], dtype);
        expect(prompt, `keys and values in ${dtype}`).not.toEqual(whole);
        const batch = [LONGEST, OTHER, OTHER];
        const pieces = cachedLogits(
          model,
          batch,
          [16, 1, 33, ...new Array<number>(20).fill(1)],
          dtype,
        );
        expectSame(pieces, prompt, `a batch in chunks, keys and values in ${dtype}`);
      }
      model.dispose();
    },
  );
});
