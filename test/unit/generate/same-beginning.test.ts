import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { type GenerateOptions, generate } from '../../../src/generate/decode.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { loadModel } from '../../../src/model/load.js';
import { KV_DTYPE_CHOICES, type KvDtype } from '../../../src/tensor/kv-dtype.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { byteTokenizer } from '../../helpers/byte-tokenizer.js';
import { useCuda } from '../../helpers/cuda.js';

const DRAWN = { temperature: 1.1, topK: 0, topP: 1, repetitionPenalty: 1 };
const KV_DTYPES = KV_DTYPE_CHOICES.filter((choice) => choice !== 'auto');

function ids(length: number, seed: number): number[] {
  return Array.from({ length }, (_, i) => (i * i * 31 + seed * 53) % 64);
}

/** The ids of each sequence, and how many tokens of the prompt were computed. */
async function write(model: Decoder, options: Partial<GenerateOptions>) {
  const passes = vi.spyOn(model, 'forward');
  const defaults = { promptIds: ids(20, 1), maxNewTokens: 6, sampling: DRAWN, seed: 3 };
  const rest = { stop: [], sequences: 1, echo: false, ...options };
  const { sequences, prompt } = await generate(model, byteTokenizer, { ...defaults, ...rest });
  const pass = passes.mock.calls.find(([rows]) => rows.length > 0);
  passes.mockRestore();
  const logprobs = [...prompt, ...sequences.flatMap(({ placed }) => placed)];
  const written = sequences.map((sequence) => sequence.ids);
  return { written, logprobs, computed: pass?.[0][0]?.ids.length };
}

const devices = testedBackends.includes('native') ? [...testedBackends, 'cuda'] : testedBackends;

describe.each(devices)('texts that begin alike on %s', (device) => {
  const reuses = device === 'native' || device === 'cuda';
  let checkpoint: Checkpoint;
  let model: Decoder;
  beforeAll(async () => {
    await (device === 'cuda' ? useCuda() : useTestBackend(device));
    // The larger one takes long on an emulated device.
    const folder = device === 'native' ? 'tales-2m' : 'tiny-llama';
    checkpoint = await openCheckpoint(`fixtures/models/${folder}`);
    model = await loadModel(checkpoint, { compute: { choice: 'auto', use: 'generate' } });
  });
  afterAll(() => {
    model.dispose();
    checkpoint.close();
  });

  /** What is written after another text, which is what is written without one. */
  async function computedAfter(first: Partial<GenerateOptions>, second: Partial<GenerateOptions>) {
    await write(model, first);
    const got = await write(model, second);
    model.kept.dispose();
    const alone = await write(model, second);
    expect(got.written).toEqual(alone.written);
    expect(got.logprobs).toEqual(alone.logprobs);
    model.kept.dispose();
    return got.computed;
  }

  test.each(KV_DTYPES)(
    'go on from the tokens they share, with keys and values in %s',
    async (kvDtype) => {
      const text = { promptIds: ids(20, 1), maxNewTokens: 10, kvDtype };
      const { written } = await write(model, text);
      model.kept.dispose();
      const promptIds = [...text.promptIds, ...(written[0] ?? []), ...ids(3, 2)];
      const next = { promptIds, kvDtype, logprobs: 3 };
      // The last token that was written was never computed.
      const computed = await computedAfter(text, next);
      expect(computed).toBe(reuses ? 4 : promptIds.length);
      const other = [...text.promptIds.slice(0, 17), ...ids(30, 4)];
      expect(await computedAfter(next, { promptIds: other, kvDtype })).toBe(reuses ? 30 : 47);
    },
  );

  test('compute at least their last token, and all where nothing is the same', async () => {
    const promptIds = ids(20, 1);
    expect(await computedAfter({ promptIds }, { promptIds })).toBe(reuses ? 1 : 20);
    expect(await computedAfter({ promptIds }, { promptIds: promptIds.slice(0, 9) })).toBe(
      reuses ? 1 : 9,
    );
    expect(await computedAfter({ promptIds }, { promptIds: [1] })).toBe(1);
    expect(await computedAfter({ promptIds }, { promptIds: ids(20, 2) })).toBe(20);
    const kvDtype: KvDtype = 'int8';
    expect(await computedAfter({ promptIds }, { promptIds, kvDtype })).toBe(20);
  });

  test('compute all of a prompt whose probabilities are asked for', async () => {
    expect(await computedAfter({}, { echo: true, logprobs: 2 })).toBe(20);
    expect(await computedAfter({}, { logprobs: 2 })).toBe(reuses ? 1 : 20);
  });

  test('share it with several sequences', async () => {
    expect(await computedAfter({}, { sequences: 3 })).toBe(reuses ? 1 : 20);
  });
});

describe('nothing is shared', () => {
  const folder = 'fixtures/models/tiny-llama';
  beforeAll(() => useTestBackend('native'));

  test('where values may be trained meanwhile', async () => {
    const checkpoint = await openCheckpoint(folder);
    const model = await loadModel(checkpoint, { trainable: true });
    await write(model, {});
    expect((await write(model, {})).computed).toBe(20);
    model.dispose();
    checkpoint.close();
  });

  test('with a text whose angles depended on its length', async () => {
    const checkpoint = await openCheckpoint(folder);
    const rope_scaling = { rope_type: 'dynamic', factor: 4 };
    const config = { ...checkpoint.config, max_position_embeddings: 16, rope_scaling };
    const model = await loadModel(Object.assign(checkpoint, { config }));
    const [long, short] = [{ promptIds: ids(14, 1) }, { promptIds: ids(12, 1), maxNewTokens: 2 }];
    const { written } = await write(model, short);
    await write(model, { ...long, maxNewTokens: 12 });
    const after = await write(model, short);
    expect(after).toMatchObject({ written, computed: 12 });
    expect((await write(model, short)).computed).toBe(1);
    model.dispose();
    checkpoint.close();
  });
});
