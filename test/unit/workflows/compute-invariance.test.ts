import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { describeCompute } from '../../../src/model/describe-compute.js';
import { loadModel } from '../../../src/model/load.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import type { ComputeChoice } from '../../../src/tensor/compute.js';
import { tidy } from '../../../src/tensor/tfjs.js';
import { quantizeOnLoad } from '../../../src/workflows/training/quantize-on-load.js';
import { testedBackends } from '../../helpers/backends.js';

/** What the bundled model is quantized to, asked to compute in, and does compute in. */
interface Case {
  readonly scheme: string | undefined;
  readonly choice: ComputeChoice;
  readonly computes: string;
}

const CASES: readonly Case[] = [
  { scheme: undefined, choice: 'f32', computes: 'f32 (bf16 weights)' },
  { scheme: undefined, choice: 'bf16', computes: 'bf16 (bf16 weights)' },
  { scheme: 'nf4', choice: 'bf16', computes: 'bf16 (nf4, bf16 weights)' },
  { scheme: 'int4', choice: 'bf16', computes: 'bf16 (int4, bf16 weights)' },
  { scheme: 'int4', choice: 'int8', computes: 'int8 (int4 weights), bf16 (bf16 weights)' },
  { scheme: 'int8', choice: 'int8', computes: 'int8 (int8 weights), bf16 (bf16 weights)' },
];

/** Lengths that leave every kind of rest, the longest beyond one page of the cache. */
const ROWS = [70, 1, 33, 17, 2, 48, 5, 64].map((length, row) =>
  Array.from({ length }, (_, i) => (7919 * (i + 1) * (row + 3)) % 1024),
);
const [LONGEST = []] = ROWS;

async function open({ scheme, choice }: Case): Promise<Decoder> {
  const checkpoint = await openCheckpoint('fixtures/models/tales-2m');
  const quantization = scheme === undefined ? undefined : { scheme };
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

/** Bits of one row's logits, fed to a cache in pieces of these lengths. */
function cachedLogits(
  model: Decoder,
  ids: readonly number[],
  lengths: readonly number[],
): Uint32Array {
  const cache = model.newCache(1);
  let start = 0;
  const pieces = lengths.map((length) => {
    const piece = { ids: ids.slice(start, start + length) };
    start += length;
    return tidyValues(() => model.logits(model.forward([piece], { cache })));
  });
  cache.dispose();
  expect(start).toBe(ids.length);
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

describe.runIf(testedBackends.includes('native'))('logits of the bundled model', () => {
  test.each(CASES)('$computes: the same bits in any batch, chunk and thread', async (one) => {
    await useBackend('native', { device: 'cpu', threads: 2 });
    const model = await open(one);
    expect(describeCompute(model)).toBe(one.computes);
    const alone = ROWS.flatMap((ids) => logitsOf(model, [ids]));
    const whole = alone[0] as Uint32Array;
    expect(new Float32Array(whole.buffer).every(Number.isFinite)).toBe(true);
    for (const threads of [1, 2]) {
      await useBackend('native', { device: 'cpu', threads });
      logitsOf(model, ROWS).forEach((bits, b) => {
        expectSame(bits, alone[b] as Uint32Array, `row ${b} of a padded batch, ${threads} threads`);
      });
      const [again] = logitsOf(model, [LONGEST]);
      expectSame(again as Uint32Array, whole, `alone, ${threads} threads`);
      const prompt = cachedLogits(model, LONGEST, [16, 1, 33, 20]);
      expectSame(prompt, whole, `a prompt in chunks, ${threads} threads`);
      const decode = cachedLogits(model, LONGEST, [40, ...new Array<number>(30).fill(1)]);
      expectSame(decode, whole, `token by token, ${threads} threads`);
    }
    model.dispose();
  });
});
