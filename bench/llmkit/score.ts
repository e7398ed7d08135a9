// Times the scoring of a text by the built library, in a process of its own.
//   node score.js '{"library": …, "model": …, "text": …, "threads": 2, "compute": "bf16", "windows": 4}'
import { pathToFileURL } from 'node:url';

export interface ScoreJob {
  /** The built index.js. */
  readonly library: string;
  readonly model: string;
  readonly text: string;
  readonly threads: number;
  readonly compute: 'auto' | 'f32' | 'bf16' | 'int8';
  /** Windows of the text that are timed; one more warms up. */
  readonly windows: number;
  readonly windowTokens: number;
}

export interface ScoreAnswer {
  readonly tokensPerSecond: number;
}

type Library = typeof import('../../src/index.js');

async function main(job: ScoreJob): Promise<ScoreAnswer> {
  const library: Library = await import(pathToFileURL(job.library).href);
  const { model, threads, compute, windows, windowTokens } = job;
  const doneMs: number[] = [];
  await library.evaluate({
    model,
    threads,
    compute,
    backend: 'native',
    tasks: ['perplexity'],
    data: { perplexity: job.text },
    batchSize: 1,
    contextLength: windowTokens,
    limit: windows + 1,
    onProgress: (_task, done) => {
      if (done > doneMs.length) doneMs.push(performance.now());
    },
  });
  const seconds = ((doneMs.at(-1) ?? 0) - (doneMs[0] ?? 0)) / 1000;
  return { tokensPerSecond: ((doneMs.length - 1) * windowTokens) / seconds };
}

const answer = await main(JSON.parse(process.argv[2] as string));
process.stdout.write(`${JSON.stringify(answer)}\n`);
