import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { type Checkpoint, openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { toDtype, writeSafetensors } from '../../../src/checkpoint/writer.js';
import type { ParameterSpec } from '../../../src/model/layout.js';
import { parameterSpecs } from '../../../src/model/layout.js';
import { type LoadOptions, loadModel } from '../../../src/model/load.js';
import { useBackend } from '../../../src/tensor/backends/index.js';
import { memory, tidy, Variable } from '../../../src/tensor/tfjs.js';
import { Weight } from '../../../src/tensor/weight.js';
import { expectClose } from '../../helpers/expect-close.js';
import { randomNormal } from '../../helpers/random.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const llama = {
  model_type: 'llama',
  vocab_size: 12,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 10,
  max_position_embeddings: 16,
  tie_word_embeddings: true,
};
const gpt2 = {
  model_type: 'gpt2',
  vocab_size: 12,
  n_embd: 8,
  n_layer: 1,
  n_head: 2,
  n_positions: 16,
};

beforeAll(() => useBackend());

/** What a file is made of; a change gets each tensor's name and shape on disk, undefined drops it. */
type Change = (spec: ParameterSpec) => { name: string; shape: readonly number[] } | undefined;

async function checkpointOf(
  config: object,
  change: Change,
  extra: string[] = [],
): Promise<Checkpoint> {
  const folder = temporaryFolder();
  const entries = parameterSpecs(config as never).flatMap((spec, i) => {
    const onDisk = {
      name: spec.name,
      shape: spec.transposedOnDisk ? spec.shape.toReversed() : spec.shape,
    };
    const { name, shape } = change({ ...spec, ...onDisk }) ?? {};
    if (name === undefined || shape === undefined) return [];
    const size = shape.reduce((product, length) => product * length, 1);
    const bytes = toDtype(randomNormal(size, i), 'F32');
    return [[name, { dtype: 'F32', shape, bytes }] as const];
  });
  const more = extra.map(
    (name) => [name, { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }] as const,
  );
  await writeSafetensors(join(folder, 'model.safetensors'), new Map([...entries, ...more]));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  return openCheckpoint(folder);
}

const keep: Change = ({ name, shape }) => ({ name, shape });

async function withLoaded<T>(
  checkpoint: Checkpoint,
  options: LoadOptions,
  read: (model: Awaited<ReturnType<typeof loadModel>>) => T,
): Promise<T> {
  const model = await loadModel(checkpoint, options);
  try {
    return read(model);
  } finally {
    model.dispose();
    checkpoint.close();
  }
}

test('the first missing tensor is named before anything is read', async () => {
  const before = memory().numTensors;
  const without = await checkpointOf(llama, (spec) =>
    spec.role === 'norm' ? keep(spec) : undefined,
  );
  await expect(loadModel(without)).rejects.toThrow(
    'expected the tensor model.embed_tokens.weight [12, 8]',
  );
  without.close();
  expect(memory().numTensors).toBe(before);
});

test('another shape is an error with the name, what is expected and what is there', async () => {
  const checkpoint = await checkpointOf(llama, (spec) =>
    spec.name.endsWith('up_proj.weight') ? { name: spec.name, shape: [9, 8] } : keep(spec),
  );
  await expect(loadModel(checkpoint)).rejects.toThrow(
    'model.layers.0.mlp.up_proj.weight must be [10, 8] by config.json, got [9, 8]',
  );
  checkpoint.close();
});

test('a tensor that is no part of the model is an error; harmless ones are not', async () => {
  const name = 'model.layers.1.mlp.up_proj.weight';
  const checkpoint = await checkpointOf(llama, keep, [name]);
  await expect(loadModel(checkpoint)).rejects.toThrow(`1 more, the first is ${name}`);
  checkpoint.close();
  const harmless = ['model.layers.0.self_attn.rotary_emb.inv_freq', 'lm_head.weight'];
  await withLoaded(await checkpointOf(llama, keep, harmless), {}, ({ linears }) => {
    expect(linears.get('lm_head')?.outFeatures).toBe(12);
  });
});

test('frozen matrices keep their bytes, vectors are variables that are not trainable', async () => {
  await withLoaded(await checkpointOf(llama, keep), {}, (model) => {
    expect(model.linears.get('lm_head')?.weight).toBeInstanceOf(Weight);
    const norm = model.parameters.get('model.norm.weight');
    expect(norm instanceof Variable && !norm.trainable).toBe(true);
    expect([...model.linears.values()].flatMap((linear) => linear.variables())).toEqual([]);
    expect(model.numParameters).toBe(12 * 8 + 3 * 8 + 4 * 64 + 3 * 80);
  });
});

test('Conv1D weights are [out, in] whether frozen or trainable, prefix or not', async () => {
  const bare: Change = ({ name, shape }) => ({ name: name.replace('transformer.', ''), shape });
  const logits = async (options: LoadOptions) =>
    withLoaded(await checkpointOf(gpt2, bare, ['h.0.attn.bias']), options, (model) => {
      expect(model.linears.get('transformer.h.0.mlp.c_fc')).toMatchObject({
        inFeatures: 8,
        outFeatures: 32,
        transposedOnDisk: true,
      });
      return tidy(() => Array.from(model.logits(model.forward([{ ids: [1, 2, 3] }])).dataSync()));
    });
  const frozen = await logits({});
  const trainable = await logits({ trainable: true });
  expectClose(frozen, trainable);
});

test('quantize on load gets every linear layer as [out, in] and may leave one as it is', async () => {
  const seen: string[] = [];
  const quantize: NonNullable<LoadOptions['quantize']> = async (module, read) => {
    const data = read();
    seen.push(`${module} ${data.rows}x${data.cols}`);
    return module === 'lm_head' ? undefined : data;
  };
  const untied = { ...gpt2, tie_word_embeddings: false };
  await withLoaded(await checkpointOf(untied, keep), { quantize }, (model) => {
    expect(seen).toEqual([
      'transformer.h.0.attn.c_attn 24x8',
      'transformer.h.0.attn.c_proj 8x8',
      'transformer.h.0.mlp.c_fc 32x8',
      'transformer.h.0.mlp.c_proj 8x32',
      'lm_head 12x8',
    ]);
    expect(model.linears.get('lm_head')?.outFeatures).toBe(12);
  });
});

test('a failure in the middle frees what was loaded', async () => {
  const before = memory().numTensors;
  const checkpoint = await checkpointOf(llama, keep);
  const quantize = () => {
    throw new Error('stop');
  };
  await expect(loadModel(checkpoint, { quantize })).rejects.toThrow('stop');
  expect(memory().numTensors).toBe(before);
  checkpoint.close();
});

test('a failure while other weights are packed waits for them and frees all', async () => {
  const before = memory().numTensors;
  const checkpoint = await checkpointOf(llama, keep);
  const matrix = checkpoint.matrix.bind(checkpoint);
  let read = 0;
  Object.assign(checkpoint, {
    matrix(module: string) {
      if (++read === 4) throw new Error('stop');
      return matrix(module);
    },
  });
  const compute = { choice: 'bf16', use: 'generate' } as const;
  await expect(loadModel(checkpoint, { compute })).rejects.toThrow('stop');
  expect(read).toBe(8); // the others are under way by then
  expect(memory().numTensors).toBe(before);
  checkpoint.close();
});
