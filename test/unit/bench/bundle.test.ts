import { build } from 'esbuild';
import { expect, test } from 'vitest';

test('the benchmark needs no tfjs, whose modules Node.js cannot load unbundled', async () => {
  const { metafile } = await build({
    entryPoints: ['bench/main.ts', 'bench/llmkit/generate.ts', 'bench/llmkit/score.ts'],
    ...{ bundle: true, format: 'esm', platform: 'node', packages: 'external' },
    ...{ outdir: 'build', write: false, metafile: true },
  });
  const inputs = Object.keys(metafile.inputs);
  expect(inputs).toContain('bench/works/index.ts');
  expect(inputs.filter((path) => /tfjs|backends\/index/.test(path))).toEqual([]);
});
