import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { openPyTorchCuda } from '../../../bench/cuda/pytorch.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

/** Stands in for Python: imports succeed, and NF4 does not compile. */
const PYTHON = `#!/bin/sh
case "$2" in
  *'"quantized":true'*) echo '{"decode": 20, "prefill": 300, "eager": "no such operator"}' ;;
  *'"quantized":false'*) echo '{"decode": 40, "prefill": 900, "eager": null}' ;;
esac
`;

test.skipIf(process.platform === 'win32')(
  'a line says why steps of bitsandbytes are not compiled',
  async () => {
    const python = join(temporaryFolder(), 'python');
    writeFileSync(python, PYTHON);
    chmodSync(python, 0o755);
    vi.stubEnv('LLMKIT_BENCH_PYTHON', python);
    const notes: string[] = [];
    const pyTorch = await openPyTorchCuda('.', (text) => notes.push(text));
    const job = { model: 'model', promptTokens: 512, newTokens: 256 };
    const compiled = await pyTorch.generate({ ...job, quantized: false });
    expect([compiled, notes]).toEqual([{ decode: 40, prefill: 900 }, []]);
    const eager = await pyTorch.generate({ ...job, quantized: true });
    expect(eager).toEqual({ decode: 20, prefill: 300 });
    expect(notes).toEqual(['transformers + bitsandbytes: eager, not compiled: no such operator']);
  },
);

afterEach(() => {
  vi.unstubAllEnvs();
});
