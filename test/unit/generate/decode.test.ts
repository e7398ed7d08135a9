import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GenerateOptions, generate } from '../../../src/generate/decode.js';
import { placeToken } from '../../../src/generate/logprobs.js';
import type { Decoder } from '../../../src/model/decoder.js';
import { initModel } from '../../../src/model/init.js';
import * as tf from '../../../src/tensor/tfjs.js';
import { testedBackends, useTestBackend } from '../../helpers/backends.js';
import { byteTokenizer } from '../../helpers/byte-tokenizer.js';

const CONFIG = {
  model_type: 'llama',
  vocab_size: 257,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 400,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  initializer_range: 0.3,
};
const SAMPLED = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 };
const OPTIONS: GenerateOptions = {
  promptIds: byteTokenizer.encode('a tale'),
  maxNewTokens: 12,
  sampling: { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 },
  seed: 3,
  stop: [],
  sequences: 1,
  echo: false,
};

describe.each(testedBackends)('generate on %s', (backend) => {
  let model: Decoder;
  const run = (options: Partial<GenerateOptions>) =>
    generate(model, byteTokenizer, { ...OPTIONS, ...options });
  const idsOf = async (options: Partial<GenerateOptions>) =>
    (await run(options)).sequences.map(({ ids }) => ids);

  beforeAll(async () => {
    await useTestBackend(backend);
    model = initModel(CONFIG, 1);
  });
  afterAll(() => model.dispose());

  test('equals recomputing the whole text for each token', async () => {
    const [ids = []] = await idsOf({});
    const text = [...OPTIONS.promptIds];
    for (const id of ids) {
      const logits = tf.tidy(() => {
        const rows = model.logits(model.forward([{ ids: text }])).dataSync() as Float32Array;
        return rows.slice(-CONFIG.vocab_size);
      });
      expect(id).toBe(placeToken(logits, 0, 1).best[0]?.id);
      text.push(id);
    }
    expect(ids.length).toBeGreaterThan(3);
  });

  test('a sequence is the same alone and beside others', async () => {
    const three = await idsOf({ sampling: SAMPLED, sequences: 3 });
    expect(new Set(three.map(String)).size).toBe(3);
    expect(await idsOf({ sampling: SAMPLED, sequences: 1 })).toEqual(three.slice(0, 1));
    expect(await idsOf({ sampling: SAMPLED, sequences: 2 })).toEqual(three.slice(0, 2));
    expect(await idsOf({ sampling: SAMPLED, sequences: 3, seed: 4 })).not.toEqual(three);
  });

  test('a sequence that ends leaves the others as they were', async () => {
    const three = await run({ sampling: SAMPLED, sequences: 3 });
    const first = three.sequences[0]?.text.slice(0, 2) ?? '';
    const stopped = await run({ sampling: SAMPLED, sequences: 3, stop: [first] });
    expect(stopped.sequences[0]?.finishReason).toBe('stop');
    for (const i of [1, 2]) {
      const full = three.sequences[i]?.ids ?? [];
      const cut = stopped.sequences[i]?.ids ?? [];
      expect(cut).toEqual(full.slice(0, cut.length));
    }
  });

  test('probabilities of a prompt longer than one pass are those of its parts', async () => {
    const promptIds = Array.from({ length: 300 }, (_, i) => (i * 37) % 256);
    const scoring = { promptIds, maxNewTokens: 0, echo: true, logprobs: 2 };
    const { prompt, sequences } = await run(scoring);
    expect(prompt.map(({ id }) => id)).toEqual(promptIds.slice(1));
    expect(sequences[0]).toMatchObject({ ids: [], finishReason: 'length' });
    const part = await run({ ...scoring, promptIds: promptIds.slice(0, 70) });
    for (const [i, { logprob }] of part.prompt.entries()) {
      expect(prompt[i]?.logprob).toBeCloseTo(logprob, backend === 'native' ? 12 : 4);
    }
  });

  test('new tokens end at the context; a longer prompt is refused by how much', async () => {
    const promptIds = Array.from({ length: 397 }, () => 65);
    const { sequences } = await run({ promptIds, maxNewTokens: 50 });
    expect(sequences[0]?.ids.length).toBeLessThanOrEqual(3);
    await expect(run({ promptIds: [...promptIds, ...promptIds] })).rejects.toThrow(
      "the prompt has 794 tokens, 394 more than the model's context of 400",
    );
  });

  test('a hundred tokens leave no tensor behind', async () => {
    await run({});
    model.kept.dispose();
    const before = tf.memory();
    await run({ maxNewTokens: 50, sampling: SAMPLED, sequences: 2, logprobs: 2, echo: true });
    model.kept.dispose();
    const after = tf.memory();
    expect(after.numTensors).toBe(before.numTensors);
    expect(after.numBytes).toBe(before.numBytes);
  });

  test('an aborted signal stops it, and leaves no tensor behind', async () => {
    model.kept.dispose();
    const before = tf.memory().numTensors;
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(run({ signal })).rejects.toThrow('enough');
    expect(tf.memory().numTensors).toBe(before);
  });
});
