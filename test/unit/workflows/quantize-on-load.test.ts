import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { hashTensors, identityOfTensors } from '../../../src/checkpoint/identity.js';
import { loadModel } from '../../../src/model/load.js';
import { Weight } from '../../../src/tensor/weight.js';
import { attachLora, readAdapter } from '../../../src/tune/peft/index.js';
import {
  type QuantizationRecord,
  quantizationOf,
  readManifest,
  writeManifest,
} from '../../../src/workflows/manifest.js';
import { openBases } from '../../../src/workflows/merge/bases.js';
import { quantizeModel } from '../../../src/workflows/quantize.js';
import { quantizeOnLoad } from '../../../src/workflows/training/quantize-on-load.js';
import { writeTinyCheckpoint } from '../../e2e/tiny-checkpoint.js';
import { firstBackendFlag, testedBackends, useTestBackend } from '../../helpers/backends.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const backend = firstBackendFlag();
await useTestBackend(testedBackends[0] ?? 'reference');

const SETTINGS = {
  scheme: 'int4',
  asymmetric: true,
  method: 'search' as const,
  skip: ['o_proj', 'layers.0.mlp.*'],
};

/** A model, and a copy of it that `quantize` wrote. */
async function models() {
  const root = temporaryFolder();
  const dense = await writeTinyCheckpoint(join(root, 'dense'));
  const output = join(root, 'quantized');
  const { scheme, method, skip } = SETTINGS;
  await quantizeModel({
    ...{ model: dense, output, scheme, method, skip, backend },
    ...{ doubleQuant: false, asymmetric: true, force: false, dryRun: false },
  });
  const identity = async (folder: string) => {
    const checkpoint = await openCheckpoint(folder);
    const hashed = await hashTensors(checkpoint);
    checkpoint.close();
    return { hashed, identity: identityOfTensors(hashed) };
  };
  return { root, dense, output, of: await identity(dense), quantized: await identity(output) };
}

test('skips, shifts zero points and searches as quantize does: the same identity', async () => {
  const { dense, of, quantized } = await models();
  const checkpoint = await openCheckpoint(dense);
  const wish = { load_in_4bit: true, quantization: SETTINGS };
  const onLoad = quantizeOnLoad(wish, checkpoint);
  const model = await loadModel(checkpoint, onLoad);
  const formatOf = (name: string) => {
    const weight = model.linears.get(name)?.weight;
    return weight instanceof Weight ? weight.format : undefined;
  };
  expect(formatOf('model.layers.1.self_attn.o_proj')).toBe('f32');
  expect(formatOf('model.layers.0.mlp.up_proj')).toBe('f32');
  expect(formatOf('model.layers.1.mlp.up_proj')).toBe('int4');
  expect(onLoad?.identity(of.hashed)).toBe(quantized.identity);
  model.dispose();
  checkpoint.close();
});

test('merge quantizes 16-bit weights with the skip list that the record of the base has', async () => {
  const { root, dense, output, of, quantized } = await models();
  const checkpoint = await openCheckpoint(dense);
  const model = await loadModel(checkpoint);
  const lora = { r: 2, alpha: 4, dropout: 0, targetModules: ['q_proj'], bias: 'none' } as const;
  const attached = attachLora(model, { ...lora, useRslora: false }, 0);
  const folder = join(root, 'adapter');
  mkdirSync(folder);
  await attached.save(folder, { baseModel: output });
  for (const part of [attached, model]) part.dispose();
  checkpoint.close();
  const own = await readManifest(output);
  const settings = own && quantizationOf(own);
  await writeManifest(folder, {
    command: 'lora-train',
    config: {},
    base_model: {
      ...{ name: output, identity: of.identity },
      quantized: { identity: quantized.identity, scheme: 'int4', ...(settings && { settings }) },
    },
  });
  const adapter = await readAdapter(folder);
  const bases = await openBases({ model: dense, onto: 'trained' }, adapter);
  const loaded = await bases.onto.load();
  const weight = loaded.linears.get('model.layers.1.self_attn.o_proj')?.weight as Weight;
  expect(weight.format).toBe('f32');
  loaded.dispose();
  bases.close();
});

test('what does not fit is said in keys of the training config', async () => {
  const { dense } = await models();
  const checkpoint = await openCheckpoint(dense);
  const fails = (quantization: QuantizationRecord, message: RegExp) =>
    expect(() => quantizeOnLoad({ load_in_4bit: true, quantization }, checkpoint)).toThrow(message);
  fails(
    { scheme: 'int4', group_size: 48 },
    /^quantization\.group_size: .*; use quantization\.group_size 64, quantization\.scheme nf4, or quantization\.skip/,
  );
  fails({ scheme: 'nf4', skip: ['nothing'] }, /^quantization\.skip: "nothing" matches no/);
  fails({ scheme: 'nf4', asymmetric: true }, /^quantization\.asymmetric: for int4/);
  fails({ scheme: 'int4', double_quant: true }, /^quantization\.double_quant: for nf4/);
  checkpoint.close();
});
