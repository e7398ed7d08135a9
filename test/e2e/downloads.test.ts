import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { startHub } from '../helpers/hub-server.js';
import { runCli, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const ROOT = temporaryFolder();
const MODEL = await writeTinyCheckpoint(join(ROOT, 'tiny'));
const DATA = join(ROOT, 'data.jsonl');
writeFileSync(DATA, '{"text": "once upon a time"}\n');
const CONFIG = join(ROOT, 'config.yaml');
const ADAPTER = join(ROOT, 'adapter');
const settings = { output_dir: ADAPTER, data: DATA, max_steps: 1, lora: { r: 2 } };
writeFileSync(CONFIG, JSON.stringify({ model: 'org/name', ...settings }));

test.each([
  ['lora-train --dry-run', ['lora-train', CONFIG, '--dry-run']],
  ['lora-train', ['lora-train', CONFIG]],
  ['merge', ['merge', 'org/name', '--adapter', ADAPTER, '-o', join(ROOT, 'merged')]],
])('%s shows what it downloads', async (_name, args) => {
  const files = Object.fromEntries(
    readdirSync(MODEL).map((name) => [name, readFileSync(join(MODEL, name))]),
  );
  const hub = await startHub({ files });
  const env = { HF_HOME: temporaryFolder(), HF_ENDPOINT: hub.url, HF_HUB_OFFLINE: '' };
  const { code, stderr } = await runCli(args, { env });
  expect(stderr).toContain('downloading model.safetensors');
  expect(code).toBe(0);
});
