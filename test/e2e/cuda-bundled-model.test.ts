import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { testedBackends } from '../helpers/backends.js';
import { runJson, temporaryFolder } from './helpers.js';

const MODEL = 'fixtures/models/tales-2m';
const DEVICES = ['cpu', 'cuda'] as const;

/** The losses that a run wrote. */
function lossesOf(folder: string): number[] {
  const lines = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return lines.flatMap((line) => (JSON.parse(line) as { loss?: number }).loss ?? []);
}

/** The five commands, each on what the ones before it made; short texts, for the emulated device takes them too. */
async function loop(folder: string, device: string) {
  const run = (...args: string[]) => runJson([...args, '--device', device]);
  const [quantized = '', adapter = '', merged = ''] = ['quantized', 'adapter', 'merged'].map(
    (name) => join(folder, name),
  );
  const text = join(folder, 'text.txt');
  const data = join(folder, 'data.jsonl');
  writeFileSync(text, 'Nina went to the hotel with her friend Emma.\n');
  writeFileSync(data, `${JSON.stringify({ text: 'Anna and Felix walked to the old street.' })}\n`);
  await run('quantize', MODEL, '--output', quantized, '--scheme', 'nf4');
  const sets = [
    ...[`model=${quantized}`, `output_dir=${adapter}`, `data={path: ${data}, format: text}`],
    ...['lora={r: 4, alpha: 8}', 'max_length=16', 'batch_size=1', 'max_steps=2', 'compute=f32'],
  ];
  await run('lora-train', ...sets.flatMap((set) => ['--set', set]));
  await run('merge', MODEL, '--adapter', adapter, '--output', merged);
  const { results } = await run(
    ...(['eval', merged, '--tasks', 'perplexity', '--data', `perplexity=${text}`] as const),
    ...['--compute', 'f32'],
  );
  const { choices } = await run(
    ...(['generate', merged, '--prompt', 'Nina went to the', '--temperature', '0'] as const),
    ...['--max-new-tokens', '8', '--compute', 'f32'],
  );
  return {
    quantized: readFileSync(join(quantized, 'model.safetensors')),
    losses: lossesOf(adapter),
    perplexity: results.perplexity['perplexity,none'] as number,
    ids: choices[0].ids as number[],
  };
}

describe.runIf(testedBackends.includes('cuda'))('the bundled model', () => {
  test('goes through the five commands on a GPU as it does on the CPU, twice the same', {
    timeout: 600_000,
  }, async () => {
    const [cpu, cuda, again] = [
      await loop(temporaryFolder(), DEVICES[0]),
      await loop(temporaryFolder(), DEVICES[1]),
      await loop(temporaryFolder(), DEVICES[1]),
    ];
    expect(cuda.quantized.equals(cpu.quantized)).toBe(true);
    expect(cuda.losses).toHaveLength(2);
    for (const [i, loss] of cpu.losses.entries()) {
      expect(Math.abs((cuda.losses[i] ?? Number.NaN) / loss - 1)).toBeLessThan(1e-4);
    }
    expect(Math.abs(cuda.perplexity / cpu.perplexity - 1)).toBeLessThan(1e-4);
    expect(cuda.ids).toEqual(cpu.ids);
    expect(again).toEqual(cuda);
  });
});
