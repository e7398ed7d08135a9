import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { type GenerateOptions, generate } from '../../../src/generate/decode.js';
import { stepCapacity } from '../../../src/generate/on-device.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { initModel } from '../../../src/model/init.js';
import { loadModel } from '../../../src/model/load.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { byteTokenizer } from '../../helpers/byte-tokenizer.js';
import { useCuda } from '../../helpers/cuda.js';
import { ENDLESS_CONFIG } from '../../helpers/endless-config.js';
import { tinyModels } from '../../helpers/tiny-models.js';

const addon = await useCuda();

const GREEDY = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 };
const SAMPLED = { temperature: 1.2, topK: 40, topP: 0.95, repetitionPenalty: 1.3 };
const OPTIONS: GenerateOptions = {
  promptIds: [5, 9, 13, 2],
  maxNewTokens: 9,
  sampling: GREEDY,
  seed: 3,
  stop: [],
  sequences: 1,
  echo: false,
};

afterEach(() => vi.restoreAllMocks());

/** How a text is written. */
interface WriteOptions {
  /** Record no step. */
  readonly plainly?: boolean;
  /** Let no step be recorded. */
  readonly spoil?: boolean;
}

/** Ids, warnings, and how often JavaScript called the addon. */
async function write(
  model: Decoder,
  options: Partial<GenerateOptions>,
  { plainly = false, spoil = false }: WriteOptions = {},
) {
  const { endCapture } = addon;
  const spies = Object.keys(addon).map((name) => vi.spyOn(addon, name as 'synchronize'));
  const captures = vi.spyOn(addon, 'beginCapture');
  if (plainly) {
    vi.spyOn(addon, 'hostWeights').mockReturnValue({ hostBytes: 1, deviceBytes: 0 });
  }
  if (spoil) {
    vi.spyOn(addon, 'endCapture').mockImplementation((step) => {
      endCapture(step);
      throw new Error('this driver records nothing');
    });
  }
  const warnings: string[] = [];
  const onWarning = (text: string) => warnings.push(text);
  const { sequences } = await generate(model, byteTokenizer, { ...OPTIONS, onWarning, ...options });
  const ids = sequences.map((sequence) => sequence.ids);
  const calls = spies.reduce((sum, { mock }) => sum + mock.calls.length, 0);
  const result = { ids, warnings, calls, captures: captures.mock.calls.length };
  vi.restoreAllMocks();
  return result;
}

describe.each(tinyModels)('%s', (folder) => {
  test('recorded steps choose the tokens of steps that are not', async () => {
    const checkpoint = await openCheckpoint(folder);
    const model = await loadModel(checkpoint);
    const options = { sampling: SAMPLED, sequences: 2 };
    const recorded = await write(model, options);
    const plain = await write(model, options, { plainly: true });
    // Its norms have no weights: they are made of tfjs's ops, whose constants are the host's.
    expect(recorded.warnings).toHaveLength(folder.endsWith('opt-plain') ? 1 : 0);
    expect(recorded.ids).toEqual(plain.ids);
    expect([recorded.captures, plain.captures]).toEqual([1, 0]);
    model.dispose();
    checkpoint.close();
  });
});

test.each([
  [0, 2048, 1024],
  [1023, 2048, 1024],
  [1024, 2048, 2048],
  [65535, 131072, 65536],
  [65536, 131072, 131072],
  [131072, 131072, 131072],
])('a step after %i tokens of a model that takes %i has room for %i', (held, limit, capacity) => {
  expect(stepCapacity(held, limit)).toBe(capacity);
});

describe('a small model', () => {
  test('writes what it writes on the CPU, with two calls a token', async () => {
    const checkpoint = await openCheckpoint(join('fixtures', 'models', 'tiny-llama'));
    const model = await loadModel(checkpoint);
    // The first text makes the device's form of the weights, and records the step.
    await write(model, { maxNewTokens: 20 });
    const short = await write(model, { maxNewTokens: 12 });
    const long = await write(model, { maxNewTokens: 20 });
    expect(long.ids[0]).toHaveLength(20);
    expect(long.calls - short.calls).toBe(2 * 8);
    model.dispose();
    await useBackend('native', { device: 'cpu' });
    const onCpu = await loadModel(checkpoint);
    const { sequences } = await generate(onCpu, byteTokenizer, { ...OPTIONS, maxNewTokens: 20 });
    expect(long.ids).toEqual([sequences[0]?.ids]);
    onCpu.dispose();
    await useCuda();
    checkpoint.close();
  });

  test('records anew when sequences have ended, and when the text outgrows its room', async () => {
    const model = initModel(ENDLESS_CONFIG, 1);
    const promptIds = Array.from({ length: 1014 }, (_, i) => (i * 37) % 256);
    const long = { promptIds, maxNewTokens: 22 };
    const recorded = await write(model, long);
    expect(recorded.captures).toBe(2);
    expect(recorded.ids).toEqual((await write(model, long, { plainly: true })).ids);

    const many = { sampling: { ...GREEDY, temperature: 1 }, sequences: 5, maxNewTokens: 30 };
    const all = await write(model, many);
    const ends = all.ids.map((ids) => byteTokenizer.decode(ids.slice(2, 3)));
    const stop = [ends[0] as string, ends[1] as string, ends[2] as string];
    const some = await write(model, { ...many, stop });
    expect(some.captures).toBeGreaterThan(1);
    expect(some.ids).toEqual((await write(model, { ...many, stop }, { plainly: true })).ids);
    model.dispose();
  });

  test('leaves nothing behind, also when it is stopped', async () => {
    const model = initModel(ENDLESS_CONFIG, 1);
    const inUse = () => {
      model.kept.dispose();
      return [tf.memory().numTensors, tf.memory().numBytes, addon.deviceMemory().inUseBytes];
    };
    await write(model, {});
    const before = inUse();
    await write(model, { sampling: SAMPLED, sequences: 3 });
    const abort = new AbortController();
    const onText = () => abort.abort(new Error('enough'));
    await expect(write(model, { signal: abort.signal, onText })).rejects.toThrow('enough');
    expect(inUse()).toEqual(before);
    model.dispose();
  });

  test('goes on step by step where a step cannot be recorded, and says so once', async () => {
    const model = initModel(ENDLESS_CONFIG, 1);
    const plain = await write(model, {}, { plainly: true });
    const spoilt = await write(model, {}, { spoil: true });
    expect(spoilt.ids).toEqual(plain.ids);
    expect(spoilt.warnings).toEqual([
      'decoding step by step, which is slower: this driver records nothing',
    ]);
    model.dispose();
  });
});
