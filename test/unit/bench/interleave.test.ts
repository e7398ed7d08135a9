import { expect, test } from 'vitest';
import { interleave } from '../../../bench/measure/interleave.js';
import type { Contender } from '../../../bench/measure/work.js';

function contenders(log: string[], names: readonly string[]): Contender[] {
  return names.map((name) => ({
    name,
    async measure() {
      log.push(name);
      return { rate: log.length };
    },
  }));
}

test('contenders take turns, with a probe before and after each run', async () => {
  const log: string[] = [];
  const probe = async () => {
    log.push('|');
    return { read: 30 };
  };
  const runs = await interleave(contenders(log, ['a', 'b']), { rounds: 2, probe });
  expect(log.join('')).toBe('|a||b||a||b|');
  expect(runs.map(({ figures }) => figures.length)).toEqual([2, 2]);
  expect(runs.map(({ probes }) => probes)).toEqual([0, 1].map(() => Array(4).fill({ read: 30 })));
});

test('a peer that fails is left out from then on; llmkit ends the work', async () => {
  const log: string[] = [];
  const [own, peer] = contenders(log, ['llmkit', 'peer']) as [Contender, Contender];
  const broken = {
    name: 'broken',
    measure: async () => {
      log.push('broken');
      throw new Error('no such file');
    },
  };
  const options = { rounds: 2, probe: async () => ({}) };
  const runs = await interleave([own, broken, peer], options);
  expect(log).toEqual(['llmkit', 'broken', 'peer', 'llmkit', 'peer']);
  expect(runs.map(({ error }) => error)).toEqual([undefined, 'broken: no such file', undefined]);
  await expect(interleave([broken, own], options)).rejects.toThrow('no such file');
});
