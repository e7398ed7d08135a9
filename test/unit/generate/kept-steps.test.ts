import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type GenerateOptions, generate } from '../../../src/generate/decode.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { initModel } from '../../../src/model/init.js';
import { DenseLinear, type Linear } from '../../../src/model/linear.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import type { NativeBackend } from '../../../src/tensor/backends/native-backend.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { Weight } from '../../../src/tensor/weight.js';
import type { LoraLinear } from '../../../src/tune/peft/lora-linear.js';
import { wrapLinear } from '../../../src/tune/peft/wrap.js';
import { byteTokenizer } from '../../helpers/byte-tokenizer.js';
import { useCuda } from '../../helpers/cuda.js';
import { ENDLESS_CONFIG } from '../../helpers/endless-config.js';

const GREEDY = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 };
const DRAWN = { ...GREEDY, temperature: 1.2 };
const DOWN = 'model.layers.0.mlp.down_proj';

/** Ids that look like no others. */
function prompt(length: number, seed: number): number[] {
  return Array.from({ length }, (_, i) => (i * i * 31 + seed * 53) % 256);
}

/** The ids of each sequence. */
async function write(model: Decoder, options: Partial<GenerateOptions>): Promise<number[][]> {
  const defaults = { promptIds: prompt(9, 1), maxNewTokens: 12, sampling: GREEDY, seed: 3 };
  const rest = { stop: [], sequences: 1, echo: false, ...options };
  const { sequences } = await generate(model, byteTokenizer, { ...defaults, ...rest });
  return sequences.map(({ ids }) => ids);
}

/** An adapter that can be put on and taken off. */
function adapterOf(inner: Linear, seed: number): LoraLinear {
  const { inFeatures, outFeatures } = inner;
  const values = (length: number) =>
    Float32Array.from({ length }, (_, i) => Math.sin(i * 7 + seed) / 2);
  const pair = { r: 2, inFeatures, outFeatures, scale: 1, a: values(2 * inFeatures) };
  const lora = { ...pair, b: values(2 * outFeatures) };
  return wrapLinear(inner, lora, { rate: 0, stream: 0, trainable: true });
}

/** A frozen matrix in the place of another layer's. */
function frozenAs({ outFeatures: rows, inFeatures: cols }: Linear, seed: number): Linear {
  const values = Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(i * 3 + seed) / 4);
  const weight = new Weight({ format: 'f32', rows, cols, codes: new Uint8Array(values.buffer) });
  return new DenseLinear({ name: DOWN, weight, transposedOnDisk: false });
}

let model: Decoder;
afterEach(() => {
  vi.restoreAllMocks();
  model.kept.dispose();
});

describe('steps recorded on a GPU', async () => {
  const addon = await useCuda();
  beforeAll(async () => {
    await useCuda();
    model = initModel(ENDLESS_CONFIG, 1);
  });
  afterAll(() => model.dispose());

  /** How many steps are recorded meanwhile. */
  async function captures(action: () => Promise<unknown>): Promise<number> {
    const spy = vi.spyOn(addon, 'beginCapture');
    await action();
    const count = spy.mock.calls.length;
    spy.mockRestore();
    return count;
  }

  /** What is written where no step is recorded. */
  async function plainly(options: Partial<GenerateOptions>): Promise<number[][]> {
    const spy = vi.spyOn(addon, 'hostWeights').mockReturnValue({ hostBytes: 1, deviceBytes: 0 });
    const ids = await write(model, options);
    spy.mockRestore();
    return ids;
  }

  /** Writes texts and compares each with what is written without recorded steps. */
  async function expectSame(texts: readonly Partial<GenerateOptions>[], recordings: number) {
    const written: number[][][] = [];
    const counted = await captures(async () => {
      for (const text of texts) written.push(await write(model, text));
    });
    expect(counted).toBe(recordings);
    for (const [i, text] of texts.entries()) {
      expect(written[i], `text ${i}`).toEqual(await plainly(text));
    }
  }

  test('serve other prompts', async () => {
    await expectSame(
      [
        { promptIds: prompt(130, 1), maxNewTokens: 70 },
        { promptIds: prompt(3, 2), maxNewTokens: 66 },
        { promptIds: prompt(200, 3), maxNewTokens: 5 },
        { promptIds: prompt(3, 2), maxNewTokens: 20 },
      ],
      1,
    );
  });

  test('serve texts that none would be recorded for', async () => {
    await expectSame([{ maxNewTokens: 4 }, { maxNewTokens: 5 }], 1);
    const replays = vi.spyOn(addon, 'replayStep');
    await expectSame([{ promptIds: prompt(30, 6), maxNewTokens: 3 }], 0);
    expect(replays).toHaveBeenCalledTimes(2);
  });

  test('serve other seeds and numbers', async () => {
    const cut = { ...DRAWN, topK: 40, repetitionPenalty: 1.3 };
    await expectSame(
      [
        { sampling: DRAWN },
        { sampling: DRAWN, seed: 2 ** 33 },
        { sampling: { ...DRAWN, temperature: 0.4, topP: 0.8 } },
        { sampling: { ...DRAWN, topK: 256 } },
        { sampling: { ...DRAWN, repetitionPenalty: 1.3 } },
        { sampling: { ...DRAWN, repetitionPenalty: 2 }, promptIds: prompt(40, 5) },
        { sampling: cut },
        { sampling: { ...cut, topK: 3, temperature: 4 } },
        { sampling: { ...GREEDY, repetitionPenalty: 1.5 } },
      ],
      4,
    );
  });

  test('are found again after others, of more rows, more room or another cache', async () => {
    const one = { sampling: DRAWN };
    const three = { sampling: DRAWN, sequences: 3 };
    const long = { sampling: DRAWN, promptIds: prompt(1050, 1) };
    const small = { sampling: DRAWN, kvDtype: 'int8' } as const;
    await expectSame([one, three, long, small], 4);
    await expectSame([three, small, { ...one, seed: 8 }, { ...three, sequences: 4 }], 0);
    expect(await captures(() => write(model, long))).toBe(0);
  });

  test('serve a batch whose sequences end one after the other', async () => {
    const all = await write(model, { sampling: DRAWN, sequences: 5, maxNewTokens: 20 });
    const stop = [0, 1, 2, 3].map((i) =>
      byteTokenizer.decode(all[i]?.slice(4 * i, 4 * i + 2) ?? []),
    );
    const text = { sampling: DRAWN, sequences: 5, maxNewTokens: 20, stop };
    const first = await write(model, text);
    expect(first).toEqual(await plainly(text));
    expect(new Set(first.map((ids) => ids.length)).size).toBeGreaterThan(2);
    await expectSame([{ ...text, seed: 4 }], 0);
    expect(await write(model, text)).toEqual(first);
  });

  test('serve the turns of a conversation', async () => {
    const turns: Partial<GenerateOptions>[] = [];
    let promptIds = prompt(20, 4);
    for (const maxNewTokens of [30, 9, 40]) {
      turns.push({ promptIds, maxNewTokens });
      const [answer = []] = await plainly({ promptIds, maxNewTokens });
      promptIds = [...promptIds, ...answer, ...prompt(7, maxNewTokens)];
    }
    await expectSame(turns, 1);
  });

  test('are each for one text at a time', async () => {
    const texts = [1, 2, 3].map((seed) => ({
      promptIds: prompt(9 * seed, seed),
      maxNewTokens: 20,
    }));
    const together = () => Promise.all(texts.map((text) => write(model, text)));
    const [first, again] = [await together(), [] as number[][][]];
    expect(await captures(async () => again.push(...(await together())))).toBe(0);
    for (const [i, text] of texts.entries()) {
      expect([first[i], again[i]]).toEqual(Array(2).fill(await plainly(text)));
    }
  });

  test('serve another text after one that was stopped', async () => {
    await write(model, {});
    const abort = new AbortController();
    const onText = (_: string) => abort.abort(new Error('enough'));
    const stopped = write(model, { signal: abort.signal, onText, maxNewTokens: 100 });
    await expect(stopped).rejects.toThrow('enough');
    await expectSame([{ promptIds: prompt(50, 2) }], 0);
  });

  test('are of the layers and the values that they were recorded with', async () => {
    const plain = { sampling: DRAWN };
    const base = model.linears.get(DOWN) as Linear;
    const adapter = adapterOf(base, 1);
    const frozen = [frozenAs(base, 1), frozenAs(base, 2)];
    const use = (linear: Linear) => model.wrapLinear(DOWN, () => linear);
    await expectSame([plain], 1);
    use(adapter);
    await expectSame([plain, plain], 1);
    for (const linear of frozen) {
      use(linear);
      await expectSame([plain], 1);
    }
    use(base);
    await expectSame([plain], 0);
    use(adapter);
    await expectSame([plain], 0);
    const before = await write(model, plain);
    const { a } = adapter.parts;
    tf.tidy(() => a.assign(tf.mul(a, -3)));
    await expectSame([plain], 1);
    expect(await write(model, plain)).not.toEqual(before);
    use(base);
    tf.dispose([adapter.parts.a, adapter.parts.b]);
    for (const { weight } of frozen) weight.dispose();
  });

  test('are let go of, the oldest first, before memory is said to be short', async () => {
    await plainly({});
    model.kept.dispose();
    const inUse = () => addon.deviceMemory().inUseBytes;
    const empty = inUse();
    const [one, two] = [{ sampling: DRAWN }, { sampling: DRAWN, sequences: 2 }];
    await write(model, one);
    const held = inUse() - empty;
    await write(model, two);
    expect(await captures(() => write(model, one))).toBe(0);
    addon.limitDeviceMemory(inUse());
    const taken = addon.allocate(Math.floor(held / 8), 'float32');
    addon.limitDeviceMemory(Number.MAX_SAFE_INTEGER);
    expect(await captures(() => write(model, one))).toBe(0);
    expect(await captures(() => write(model, two))).toBeGreaterThan(0);
    addon.limitDeviceMemory(inUse());
    expect(() => addon.allocate(1 << 28, 'float32')).toThrow(/no memory on the GPU/);
    addon.limitDeviceMemory(Number.MAX_SAFE_INTEGER);
    addon.release(taken);
    expect(inUse()).toBe(empty);
    await expectSame([one], 1);
  });

  test('leave nothing behind when they are let go of', async () => {
    await plainly({});
    const inUse = () => {
      model.kept.dispose();
      return [tf.memory().numTensors, tf.memory().numBytes, addon.deviceMemory().inUseBytes];
    };
    const before = inUse();
    for (let sequences = 1; sequences < 10; sequences++) {
      await write(model, { sequences, maxNewTokens: 6, sampling: { ...DRAWN, topK: sequences } });
    }
    expect(inUse()).toEqual(before);
  });
});

describe.runIf(['', 'native'].includes(process.env.LLMKIT_BACKEND ?? ''))(
  'a step recorded on the CPU',
  () => {
    beforeAll(async () => {
      await useBackend('native', { device: 'cpu' });
      model = initModel(ENDLESS_CONFIG, 1);
    });
    afterAll(() => model.dispose());

    /** Calls of the addon that make a recorded step, or run it. */
    function spies() {
      const { addon } = tf.backend() as NativeBackend;
      return { records: vi.spyOn(addon, 'beginRecording'), runs: vi.spyOn(addon, 'replay') };
    }

    test('serves other texts from their first step on', async () => {
      const texts = [
        { promptIds: prompt(300, 1), maxNewTokens: 150 },
        { promptIds: prompt(4, 2), maxNewTokens: 9 },
        { promptIds: prompt(40, 3), sampling: DRAWN },
      ];
      const alone: number[][][] = [];
      for (const text of texts) {
        alone.push(await write(model, text));
        model.kept.dispose();
      }
      const { records, runs } = spies();
      for (const [i, text] of texts.entries()) {
        runs.mockClear();
        expect(await write(model, text)).toEqual(alone[i]);
        // The last token is not gone on from; of the first text two steps are not run again.
        const steps = (alone[i]?.[0]?.length ?? 0) - 1;
        expect(runs).toHaveBeenCalledTimes(i === 0 ? steps - 2 : steps);
      }
      expect(records).toHaveBeenCalledTimes(1);
    });

    test('is one of the layers as they are, and found again', async () => {
      const base = model.linears.get(DOWN) as Linear;
      const adapter = adapterOf(base, 1);
      const plain = await write(model, {});
      model.wrapLinear(DOWN, () => adapter);
      const adapted = await write(model, {});
      const { records } = spies();
      model.wrapLinear(DOWN, () => base);
      expect(await write(model, {})).toEqual(plain);
      model.wrapLinear(DOWN, () => adapter);
      expect(await write(model, {})).toEqual(adapted);
      expect(records).not.toHaveBeenCalled();
      model.wrapLinear(DOWN, () => base);
      tf.dispose([adapter.parts.a, adapter.parts.b]);
    });
  },
);
