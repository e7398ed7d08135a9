import { expect, test } from 'vitest';
import { expectSameRun } from '../../../src/tune/resume.js';

const run = { seed: 1, lora: { r: 8 }, data: [{ sha256: 'a' }], save_steps: 5, output_dir: 'x' };

test('a run may move and save at other steps', () => {
  expect(() => expectSameRun(run, { ...run, save_steps: 9, output_dir: 'y' })).not.toThrow();
});

test('a run may go on with less memory, and from a record of an earlier version', () => {
  const now = { ...run, device: 'cpu', optim: 'adamw' };
  expect(() => expectSameRun(run, now)).not.toThrow();
  expect(() => expectSameRun({ ...run, device: 'auto' }, { ...now, device: 'cuda' })).not.toThrow();
  expect(() => expectSameRun(now, { ...now, device_map: 'auto', max_memory: '8GB' })).not.toThrow();
  expect(() => expectSameRun(run, { ...now, device: 'cuda' })).toThrow(/device was "cpu"/);
  expect(() => expectSameRun(run, { ...now, optim: 'adamw_8bit' })).toThrow(/optim was "adamw"/);
});

test.each([
  [{ ...run, seed: 2 }, /seed was 1 and is 2/],
  [{ ...run, lora: { r: 16 } }, /lora\.r was 8 and is 16/],
  [{ ...run, data: [{ sha256: 'b' }] }, /data\.0\.sha256 was "a" and is "b"/],
  [{ ...run, eval_data: ['c'] }, /eval_data\.0 was not set and is "c"/],
])('%j is another run', (other, message) => {
  expect(() => expectSameRun(run, other)).toThrow(message);
});
