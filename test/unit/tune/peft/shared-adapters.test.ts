import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../../src/checkpoint/checkpoint.js';
import { loadModel } from '../../../../src/model/load.js';
import { tidy } from '../../../../src/tensor/tfjs.js';
import { loadAdapter } from '../../../../src/tune/peft/index.js';
import { testedBackends, useTestBackend } from '../../../helpers/backends.js';
import { sharedData } from '../../../helpers/shared-data.js';

const peft = sharedData('peft');
const stories = sharedData('stories260k-hf');

/** Adapters that PEFT made and llmkit computes, by folder: the base and the folder below `peft`. */
const COMPUTED: readonly (readonly [base: string, adapter: string])[] = [
  ['stories260k-hf', 'lora_qv'],
  ['stories260k-hf', 'lora_all_linear'],
  ['stories260k-hf', 'lora_embed_head'],
  ...[
    'lora_rslora',
    'lora_patterns',
    'lora_layers',
    'lora_exclude',
    'lora_lora_bias',
    'lora_save_norm',
    'pissa',
    'olora',
  ].map((name) => ['stories260k-hf', `more/${name}`] as const),
  ['peft/more/tiny_gpt2', 'more/tiny_gpt2/lora_bias_all'],
  ['peft/more/tiny_gpt2', 'more/tiny_gpt2/lora_wte'],
  ['peft/more/tiny_opt', 'more/tiny_opt/lora_bias_only'],
  ['peft/more/tiny_opt', 'more/tiny_opt/lora_lora_bias'],
];

/** Adapters that are refused, and the word that says why. */
const REFUSED: readonly (readonly [base: string, adapter: string, reason: RegExp])[] = [
  ['stories260k-hf', 'more/lora_dora', /use_dora/],
  ['stories260k-hf', 'more/lora_dora_rslora', /use_dora/],
  ['stories260k-hf', 'more/lora_replication', /layer_replication/],
  ['stories260k-hf', 'more/lora_tokens', /trainable_token_indices/],
  ['stories260k-hf', 'more/pissa_raw', /init_lora_weights.*converted/],
  ['stories260k-hf', 'more/olora_raw', /init_lora_weights.*converted/],
  ...[
    'adalora',
    'adaption_prompt',
    'boft',
    'bottleneck',
    'ia3',
    'ln_tuning',
    'loha',
    'lokr',
    'oft',
    'oft_exact',
    'prefix',
    'prefix_proj',
    'prompt',
    'prompt_text',
    'ptuning_lstm',
    'ptuning_mlp',
    'tokens_only',
    'vera',
  ].map((name) => ['stories260k-hf', `more/${name}`, /peft_type: expected "LORA"/] as const),
  ['peft/more/tiny_gpt2', 'more/tiny_gpt2/dora', /use_dora/],
  ['stories260k-hf', '../stories260k-hf', /not an adapter/],
];

/** Logits of the model with the adapter for the ids of golden.json, as PEFT's file has them. */
async function logitsWith(base: string, adapter: string): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(sharedData(base) ?? '');
  const model = await loadModel(checkpoint);
  const loaded = await loadAdapter(model, join(peft ?? '', adapter));
  try {
    return tidy(() => model.logits(model.forward([{ ids: idsFor(base) }])).dataSync<'float32'>());
  } finally {
    loaded.dispose();
    model.dispose();
    checkpoint.close();
  }
}

function idsFor(base: string): number[] {
  const { ids } = JSON.parse(readFileSync(join(peft ?? '', 'golden.json'), 'utf8'));
  if (base === 'stories260k-hf') return ids;
  const families = JSON.parse(
    readFileSync(sharedData('golden', 'tuning.json') ?? '', 'utf8'),
  ).families;
  return families.ids;
}

describe.skipIf(peft === undefined || stories === undefined)('adapters made by PEFT', () => {
  beforeAll(() => useTestBackend(testedBackends[0] ?? 'reference'));

  test.each(COMPUTED)('%s with %s: the same logits', async (base, adapter) => {
    const bytes = readFileSync(join(peft ?? '', adapter, 'logits.f32'));
    const want = new Float32Array(
      bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
    );
    const all = await logitsWith(base, adapter);
    const got = all.subarray(all.length - want.length);
    let worst = 0;
    want.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - (got[i] ?? Number.NaN)));
    });
    expect(worst).toBeLessThanOrEqual(1e-4);
  });

  test.each(REFUSED)('%s with %s: refused with the reason', async (base, adapter, reason) => {
    await expect(logitsWith(base, adapter)).rejects.toThrow(reason);
  });
});
