import { join } from 'node:path';
import type { TrainingFigures } from '../llmkit/run.js';
import { runChild } from '../measure/child.js';

/** Steps of PyTorch, transformers and PEFT on a Hugging Face checkpoint. */
export interface PyTorch {
  train(job: TrainJob): Promise<TrainingFigures>;
}

export interface TrainJob {
  readonly model: string;
  readonly device: 'cpu' | 'cuda';
  readonly threads: number;
  readonly method: 'lora' | 'full';
  /** Rank of LoRA on all linear layers. */
  readonly rank: number;
  readonly batch: number;
  readonly tokens: number;
  readonly checkpointing: boolean;
  /** Timed ones; one more warms up. */
  readonly steps: number;
}

/**
 * Finds a Python that has torch, transformers and peft.
 *
 * @throws Error when there is none
 */
export async function openPyTorch(root: string): Promise<PyTorch> {
  const python = process.env.LLMKIT_BENCH_PYTHON ?? 'python3';
  await runChild(python, ['-c', 'import torch, transformers, peft']);
  const script = join(root, 'bench', 'peers', 'pytorch.py');
  return {
    async train(job) {
      const env = { OMP_NUM_THREADS: String(job.threads), HF_HUB_OFFLINE: '1' };
      const { stdout, peakBytes } = await runChild(python, [script, JSON.stringify(job)], env);
      const lines = stdout.trim().split('\n');
      const answer = JSON.parse(lines.at(-1) ?? '{}');
      return {
        stepSeconds: answer.step_seconds,
        peakBytes,
        devicePeakBytes: answer.device_peak_bytes ?? undefined,
      };
    },
  };
}
