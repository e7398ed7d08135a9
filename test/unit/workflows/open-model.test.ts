import { expect, test } from 'vitest';
import { openModel } from '../../../src/workflows/open-model.js';
import { testedBackends } from '../../helpers/backends.js';

test('a missing tokenizer is reported before any weight is read', async () => {
  const read: string[] = [];
  const quantize = async (module: string) => {
    read.push(module);
    return undefined;
  };
  const model = 'fixtures/models/tiny-llama'; // has none
  const opening = openModel({ model, backend: testedBackends[0], load: { quantize } });
  await expect(opening).rejects.toThrow(/tokenizer\.json: no such file/);
  expect(read).toEqual([]);
});
