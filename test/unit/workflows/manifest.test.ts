import { mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readManifest, sha256OfFile, writeManifest } from '../../../src/workflows/manifest.js';
import { VERSION } from '../../../src/workflows/version.js';

const folder = () => mkdtempSync(join(tmpdir(), 'llmkit-manifest-'));

test('what is written is read, with the version', async () => {
  const place = folder();
  const manifest = {
    command: 'merge',
    config: { model: 'm', seed: 1 },
    base_model: { name: 'm', identity: 'ab', quantized: { identity: 'cd', scheme: 'nf4' } },
    template: { kind: 'none' },
    timings: { total: 1.5 },
  };
  await writeManifest(place, manifest);
  expect(readdirSync(place)).toEqual(['llmkit.json']);
  expect(await readManifest(place)).toEqual({ version: VERSION, ...manifest });
});

test('no manifest is no error, a broken one is', async () => {
  const place = folder();
  expect(await readManifest(place)).toBeUndefined();
  writeFileSync(join(place, 'llmkit.json'), '{');
  await expect(readManifest(place)).rejects.toThrow(/llmkit\.json: not valid JSON/);
  writeFileSync(join(place, 'llmkit.json'), '{"version": "1", "command": 3, "config": {}}');
  await expect(readManifest(place)).rejects.toThrow(/llmkit\.json: command/);
});

test('the sha256 of a file', async () => {
  const path = join(folder(), 'f');
  writeFileSync(path, 'abc');
  expect(await sha256OfFile(path)).toBe(
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  );
});
