import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  truncateSync,
  writeSync,
} from 'node:fs';

/** A line of metrics.jsonl: one per optimizer step, and one per evaluation. */
export type MetricsLine =
  | {
      /** Optimizer steps done, from 1. */
      readonly step: number;
      readonly epoch: number;
      readonly loss: number;
      readonly lr: number;
      readonly grad_norm: number;
      readonly trained_tokens: number;
      /** Wall time of the step. */
      readonly seconds: number;
    }
  | { readonly step: number; readonly eval_loss: number; readonly eval_tokens: number };

/** Appends to metrics.jsonl. */
export class MetricsLog {
  private readonly file: number;

  /** @param keepUpTo lines up to this step stay as they are, byte for byte; later and torn ones go */
  constructor(path: string, keepUpTo: number) {
    if (existsSync(path)) truncateSync(path, keptBytes(readFileSync(path), keepUpTo));
    this.file = openSync(path, 'a');
  }

  write(line: MetricsLine): void {
    writeSync(this.file, `${JSON.stringify(line)}\n`);
  }

  /** Waits until the disk has every line: done before a checkpoint that counts on them. */
  flush(): void {
    fsyncSync(this.file);
  }

  close(): void {
    closeSync(this.file);
  }
}

/** Bytes before the first line of a later step, or that is not a whole JSON object. */
function keptBytes(bytes: Buffer, keepUpTo: number): number {
  let start = 0;
  for (;;) {
    const end = bytes.indexOf(10, start);
    if (end < 0) return start;
    const step = stepOf(bytes.toString('utf8', start, end));
    if (step === undefined || step > keepUpTo) return start;
    start = end + 1;
  }
}

function stepOf(line: string): number | undefined {
  try {
    const step = (JSON.parse(line) as { step?: unknown } | null)?.step;
    return typeof step === 'number' ? step : undefined;
  } catch {
    return undefined;
  }
}

/** Every line of a metrics.jsonl. */
export function readMetrics(path: string): MetricsLine[] {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as MetricsLine);
}
