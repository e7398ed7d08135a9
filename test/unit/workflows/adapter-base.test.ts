import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openCheckpoint } from '../../../src/checkpoint/checkpoint.js';
import { identityOf } from '../../../src/checkpoint/identity.js';
import { loadModel } from '../../../src/model/load.js';
import { attachLora } from '../../../src/tune/peft/index.js';
import { anotherBaseThanTrained } from '../../../src/workflows/adapter-base.js';
import { type BaseModel, type Manifest, writeManifest } from '../../../src/workflows/manifest.js';
import { openModel } from '../../../src/workflows/open-model.js';
import { quantizeModel } from '../../../src/workflows/quantize.js';
import { temporaryFolder as endlessFolder } from '../../e2e/helpers.js';
import { writeTinyCheckpoint } from '../../e2e/tiny-checkpoint.js';
import { firstBackendFlag, testedBackends, useTestBackend } from '../../helpers/backends.js';

const backend = firstBackendFlag();
await useTestBackend(testedBackends[0] ?? 'reference');

const ROOT = endlessFolder();
const DENSE = join(ROOT, 'dense');
const NF4 = join(ROOT, 'nf4');
let identity = '';

async function quantize(
  output: string,
  scheme: string,
  options: { groupSize?: number; head?: string; method?: 'search' } = {},
): Promise<void> {
  const flags = { doubleQuant: false, asymmetric: false, skip: ['lm_head'] };
  const fixed = { ...flags, force: false, dryRun: false, backend };
  await quantizeModel({ ...fixed, ...options, model: DENSE, output, scheme });
}

beforeAll(async () => {
  await writeTinyCheckpoint(DENSE);
  const checkpoint = await openCheckpoint(DENSE);
  identity = await identityOf(checkpoint);
  checkpoint.close();
  await quantize(NF4, 'nf4');
  await quantize(join(ROOT, 'nf4-32'), 'nf4', { groupSize: 32 });
  await quantize(join(ROOT, 'nf4-head'), 'nf4', { head: 'nf4' });
  await quantize(join(ROOT, 'nf4-search'), 'nf4', { method: 'search' });
  await quantize(join(ROOT, 'int4'), 'int4');
});

let adapters = 0;

/** What is said of an adapter with this record on a model of this folder. */
async function doubt(
  record: BaseModel | undefined,
  model: string,
  config: Manifest['config'] = {},
): Promise<string | undefined> {
  const adapter = join(ROOT, `adapter-${adapters++}`);
  mkdirSync(adapter);
  if (record) {
    await writeManifest(adapter, { command: 'lora-train', config, base_model: record });
  }
  const checkpoint = await openCheckpoint(model);
  onTestFinished(() => checkpoint.close());
  return anotherBaseThanTrained({ adapter, model, checkpoint });
}

const settings = { scheme: 'nf4', group_size: 64, double_quant: false, asymmetric: false };
const dense = (): BaseModel => ({ name: DENSE, identity });
const nf4 = (): BaseModel => ({
  name: NF4,
  identity,
  quantized: { identity: 'its own', scheme: 'nf4', settings },
});
const onLoad = (): BaseModel => ({
  ...dense(),
  quantized: { identity: 'its own', scheme: 'nf4' },
});

describe('no doubt', () => {
  test('without a record, on the base of the record, and where nothing tells', async () => {
    expect(await doubt(undefined, NF4)).toBeUndefined();
    expect(await doubt(dense(), DENSE)).toBeUndefined();
    expect(await doubt(nf4(), NF4)).toBeUndefined();
    expect(await doubt(onLoad(), NF4)).toBeUndefined();
  });
});

describe('a doubt names both and the fix', () => {
  test('trained on quantized weights, put on 16-bit ones', async () => {
    const said = await doubt(nf4(), DENSE);
    expect(said).toContain(
      `trained on ${NF4} in nf4, and ${DENSE} is not quantized; give ${NF4} as MODEL`,
    );
    expect(await doubt(onLoad(), DENSE)).toContain(
      `give what \`llmkit quantize ${DENSE} --scheme nf4\` writes as MODEL`,
    );
    const quantization = { scheme: 'nf4', group_size: 32, skip: ['lm_head', 'o_proj'] };
    expect(await doubt(onLoad(), DENSE, { quantization })).toContain(
      `llmkit quantize ${DENSE} --scheme nf4 --group-size 32 --skip lm_head,o_proj\``,
    );
    const searched = { quantization: { scheme: 'nf4', method: 'search' } };
    expect(await doubt(onLoad(), DENSE, searched)).toContain('--scheme nf4 --search`');
  });

  test('the fix names the scheme of the head', async () => {
    const quantization = { scheme: 'int4', head: 'int8' };
    const record = { ...dense(), quantized: { identity: 'its own', scheme: 'int4' } };
    expect(await doubt(record, DENSE, { quantization })).toContain('--scheme int4 --head int8`');
  });

  test('trained on 16-bit weights, put on quantized ones', async () => {
    const said = await doubt(dense(), NF4);
    expect(said).toContain(`${DENSE}, which is not quantized, and ${NF4} is in nf4`);
  });

  test('another scheme, other groups, another original', async () => {
    expect(await doubt(nf4(), join(ROOT, 'int4'))).toContain('is in int4; quantize with --scheme');
    expect(await doubt(nf4(), join(ROOT, 'nf4-32'))).toContain('group_size 64, and');
    expect(await doubt(nf4(), join(ROOT, 'nf4-head'))).toContain('head none, and');
    expect(await doubt(nf4(), join(ROOT, 'nf4-search'))).toContain('method rtn, and');
    expect(await doubt({ ...nf4(), identity: 'another' }, NF4)).toContain('from another model');
  });

  test('a model that was made from the base', async () => {
    const merged = await writeTinyCheckpoint(join(ROOT, 'merged'));
    const made: Omit<Manifest, 'version'> = { command: 'merge', config: {}, base_model: dense() };
    await writeManifest(merged, made);
    expect(await doubt(dense(), merged)).toContain(
      `${merged} was made from it by merge; give ${DENSE} as MODEL`,
    );
  });
});

test('opening a model with an adapter warns once', async () => {
  const checkpoint = await openCheckpoint(DENSE);
  const model = await loadModel(checkpoint);
  const lora = { r: 2, alpha: 4, dropout: 0, targetModules: ['q_proj'], bias: 'none' } as const;
  const attached = attachLora(model, { ...lora, useRslora: false }, 0);
  const adapter = join(ROOT, 'adapter');
  mkdirSync(adapter);
  await attached.save(adapter, { baseModel: NF4 });
  await writeManifest(adapter, { command: 'lora-train', config: {}, base_model: nf4() });
  for (const part of [attached, model]) part.dispose();
  checkpoint.close();
  const warnings: string[] = [];
  const onWarning = (text: string) => warnings.push(text);
  for (const folder of [DENSE, NF4]) {
    (await openModel({ model: folder, adapter, backend, onWarning })).close();
  }
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toContain('is not quantized');
});
