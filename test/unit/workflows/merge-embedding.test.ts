import { expect, test } from 'vitest';
import { mergeAdapter } from '../../../src/workflows/merge.js';
import { firstBackendFlag } from '../../helpers/backends.js';
import { sharedData } from '../../helpers/shared-data.js';

const model = sharedData('stories260k-hf');
const adapter = sharedData('peft', 'lora_embed_head');

test.skipIf(!model || !adapter)('an adapter on a tied embedding is run, not merged', async () => {
  const given = { model: model ?? '', adapter: adapter ?? '', backend: firstBackendFlag() };
  const merging = mergeAdapter({ ...given, onto: 'trained', force: false, dryRun: true });
  await expect(merging).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringMatching(/ties its head.*; generate and eval run it with --adapter$/),
  });
});
