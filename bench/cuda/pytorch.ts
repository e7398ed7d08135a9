import { join } from 'node:path';
import { runChild } from '../measure/child.js';

/** Generation by transformers on a GPU. */
export interface PyTorchCuda {
  readonly hasBitsAndBytes: boolean;
  generate(job: GenerateJob): Promise<{ decode: number; prefill: number }>;
}

/** With `quantized` the weights are NF4 of bitsandbytes, else bf16. */
export interface GenerateJob {
  readonly model: string;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly quantized: boolean;
}

/**
 * Finds a Python (LLMKIT_BENCH_PYTHON, else python3) whose PyTorch sees the GPU.
 *
 * @param note told why steps are not compiled, where bitsandbytes' cannot be
 * @throws Error when there is none
 */
export async function openPyTorchCuda(
  root: string,
  note: (text: string) => void,
): Promise<PyTorchCuda> {
  const python = process.env.LLMKIT_BENCH_PYTHON ?? 'python3';
  await runChild(python, ['-c', 'import torch, transformers; assert torch.cuda.is_available()']);
  const script = join(root, 'bench', 'cuda', 'generate.py');
  return {
    hasBitsAndBytes: await imports(python, 'bitsandbytes'),
    async generate(job) {
      const env = { HF_HUB_OFFLINE: '1' };
      const { stdout } = await runChild(python, [script, JSON.stringify(job)], env);
      const { eager, ...figures } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}');
      if (eager) note(`transformers + bitsandbytes: eager, not compiled: ${eager}`);
      return figures;
    },
  };
}

async function imports(python: string, name: string): Promise<boolean> {
  try {
    await runChild(python, ['-c', `import ${name}`]);
    return true;
  } catch {
    return false;
  }
}
