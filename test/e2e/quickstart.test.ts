import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { testedBackends } from '../helpers/backends.js';
import { runCli, runJson, temporaryFolder } from './helpers.js';

// On the reference backend the tour is shortened: too short to learn the task.
const native = testedBackends.includes('native');

describe('quickstart', () => {
  test.runIf(native)(
    'tunes the bundled model from chance to a classifier',
    { timeout: 300_000 },
    async () => {
      const output = join(temporaryFolder(), 'tour');
      const { columns, rows, report } = await runJson(['quickstart', '-o', output]);
      expect(columns).toEqual(['Model', 'Size', 'Perplexity', 'Endings', 'Sentiment', 'Tokens/s']);
      const sentiment = rows.map((row: string[]) => Number.parseFloat(row[4] ?? ''));
      expect(sentiment[0]).toBeLessThan(50);
      expect(sentiment[2]).toBeGreaterThan(90);
      const perplexity = rows.map((row: string[]) => Number.parseFloat(row[2] ?? ''));
      expect(perplexity[1] / perplexity[0]).toBeLessThan(1.02);
      expect(existsSync(report)).toBe(true);
      expect(readFileSync(report, 'utf8')).toContain(rows[2][4]);
    },
  );

  test('leaves an existing folder alone without --force', async () => {
    const output = temporaryFolder();
    const { code, stderr } = await runCli(['quickstart', '-o', output]);
    expect(code).toBe(2);
    expect(stderr).toContain('--force');
  });
});
