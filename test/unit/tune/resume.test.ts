import { expect, test } from 'vitest';
import { expectSameRun } from '../../../src/tune/resume.js';

const run = { seed: 1, lora: { r: 8 }, data: [{ sha256: 'a' }], save_steps: 5, output_dir: 'x' };

test('a run may move and save at other steps', () => {
  expect(() => expectSameRun(run, { ...run, save_steps: 9, output_dir: 'y' })).not.toThrow();
});

test.each([
  [{ ...run, seed: 2 }, /seed was 1 and is 2/],
  [{ ...run, lora: { r: 16 } }, /lora\.r was 8 and is 16/],
  [{ ...run, data: [{ sha256: 'b' }] }, /data\.0\.sha256 was "a" and is "b"/],
  [{ ...run, eval_data: ['c'] }, /eval_data\.0 was not set and is "c"/],
])('%j is another run', (other, message) => {
  expect(() => expectSameRun(run, other)).toThrow(message);
});
