import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readText } from '../../../src/data/text.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

test('reads every kind of line end as one', async () => {
  const path = join(temporaryFolder(), 'text.txt');
  writeFileSync(path, 'one\r\ntwo\rthree\n\r\n');
  expect(await readText(path)).toBe('one\ntwo\nthree\n\n');
});

test('names a file that is not there', async () => {
  await expect(readText('nowhere.txt')).rejects.toThrow(/nowhere\.txt, but there is no such file/);
});
