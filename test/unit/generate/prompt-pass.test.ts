import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type GenerateOptions, generate } from '../../../src/generate/decode.js';
import { passTokens } from '../../../src/generate/prompt-pass.js';
import { activationBytes } from '../../../src/model/activation-bytes.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { initModel } from '../../../src/model/init.js';
import type { DeviceAddon } from '../../../src/tensor/backends/addon-device.js';
import { deviceMemory } from '../../../src/tensor/backends/device-memory.js';
import { useTestBackend } from '../../helpers/backends.js';
import { byteTokenizer } from '../../helpers/byte-tokenizer.js';
import { useCuda } from '../../helpers/cuda.js';
import { ENDLESS_CONFIG } from '../../helpers/endless-config.js';

const PROMPT = Array.from({ length: 600 }, (_, i) => (i * i * 7) % ENDLESS_CONFIG.vocab_size);
const GREEDY = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 };

let model: Decoder;

/** The ids that follow the prompt, and how many of its tokens each pass computed. */
async function write(options: Partial<GenerateOptions> = {}) {
  const passes = vi.spyOn(model, 'forward');
  const rest = { stop: [], sequences: 1, echo: false, seed: 3, sampling: GREEDY, ...options };
  const { sequences } = await generate(model, byteTokenizer, {
    promptIds: PROMPT,
    maxNewTokens: 3,
    ...rest,
  });
  const lengths = passes.mock.calls.map(([rows]) => rows[0]?.ids.length ?? 0);
  passes.mockRestore();
  model.kept.dispose();
  return { ids: sequences[0]?.ids, lengths: lengths.filter((length) => length > 1) };
}

describe('on a GPU', () => {
  let addon: DeviceAddon;
  beforeAll(async () => {
    addon = await useCuda();
    model = initModel({ ...ENDLESS_CONFIG, max_position_embeddings: 640 }, 1);
  });
  afterAll(() => model.dispose());
  afterEach(() => deviceMemory()?.limit(undefined));

  test('a prompt is computed in one pass, where memory is short in several: the same text', async () => {
    const whole = await write();
    expect(whole.lengths).toEqual([600]);
    const enough = 4 * 700 * activationBytes(model.config);
    deviceMemory()?.limit(addon.deviceMemory().inUseBytes + enough);
    const cut = await write();

    expect(cut).toEqual({ ids: whole.ids, lengths: [512, 88] });
  });

  test('a pass that memory does not do for is computed again as several: the same text', async () => {
    const whole = await write();
    const real = addon.deviceMemory();
    addon.limitDeviceMemory(real.inUseBytes + 640 * activationBytes(model.config));
    // What was kept to be used again goes.
    expect(() => addon.allocate(1 << 28, 'float32')).toThrow('no memory on the GPU');
    const estimate = vi.spyOn(addon, 'deviceMemory');
    estimate.mockReturnValue({ ...real, usableBytes: Number.MAX_SAFE_INTEGER });
    const cut = await write();
    estimate.mockRestore();

    expect(cut).toEqual({ ids: whole.ids, lengths: [600, 256, 256, 88] });
  });

  test('a prompt whose probabilities are asked for goes in short passes', async () => {
    const { lengths } = await write({ echo: true, logprobs: 1, maxNewTokens: 0 });
    expect(lengths).toEqual([256, 256, 88]);
  });
});

test('on the CPU a prompt goes in longer passes where the model is small', async () => {
  await useTestBackend('native');
  model = initModel({ ...ENDLESS_CONFIG, max_position_embeddings: 640 }, 1);
  expect((await write()).lengths).toEqual([512, 88]);
  const large = { ...model.config, hiddenSize: 4096, intermediateSize: 14336 };
  expect(passTokens(large, { tokens: 600, kvDtype: undefined })).toBe(256);
  model.dispose();
});
