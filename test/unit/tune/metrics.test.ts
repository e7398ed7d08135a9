import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MetricsLog, readMetrics } from '../../../src/tune/metrics.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const line = (step: number) => ({
  step,
  epoch: 1,
  loss: 1 / step,
  lr: 0.1,
  grad_norm: 2,
  trained_tokens: 3,
  seconds: 0.1,
});

test('a resumed run keeps lines up to its step byte for byte and drops the rest', () => {
  const path = join(temporaryFolder(), 'metrics.jsonl');
  const kept = '{"step": 1,  "loss":2, "mark": 1}\n{"step":2,"eval_loss":3}\n';
  writeFileSync(path, `${kept}{"step":3,"loss":1}\n{"step":3,"eval_loss":1}\n{"step":4,"lo`);
  const log = new MetricsLog(path, 2);
  log.write(line(3));
  log.close();
  expect(readFileSync(path, 'utf8')).toBe(`${kept}${JSON.stringify(line(3))}\n`);
  expect(readMetrics(path)).toHaveLength(3);
});

test('a torn last line of a kept step goes too', () => {
  const path = join(temporaryFolder(), 'metrics.jsonl');
  writeFileSync(path, '{"step":1,"loss":1}\n');
  appendFileSync(path, '{"step":2,"loss":1}');
  new MetricsLog(path, 9).close();
  expect(readFileSync(path, 'utf8')).toBe('{"step":1,"loss":1}\n');
});

test('a run from the start drops everything', () => {
  const path = join(temporaryFolder(), 'metrics.jsonl');
  writeFileSync(path, '{"step":1,"loss":1}\n');
  new MetricsLog(path, 0).close();
  expect(readFileSync(path, 'utf8')).toBe('');
});
