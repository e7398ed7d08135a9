// Times one load of a model in the built library, and some generations with it, in a process of its own.
//   node generate.js '{"library": …, "model": …, "threads": 2, "compute": "int8", "runs": [...]}'
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { textOfTokens } from './prompt.js';

/** A generation: how long the prompt is, and how many tokens each sequence writes. */
export interface GenerateRun {
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly sequences: number;
}

export interface GenerateJob {
  /** The built index.js. */
  readonly library: string;
  /** A text that prompts are cut from. */
  readonly text: string;
  readonly model: string;
  readonly threads: number;
  readonly compute: 'auto' | 'f32' | 'bf16' | 'int8';
  readonly runs: readonly GenerateRun[];
}

/** Seconds of a run: the prompt, and a step of all sequences. */
export interface GenerateTimes {
  readonly promptSeconds: number;
  readonly stepSeconds: number;
}

export interface GenerateAnswer {
  readonly loadSeconds: number;
  readonly runs: readonly GenerateTimes[];
}

type Library = typeof import('../../src/index.js');
type Generator = Awaited<ReturnType<Library['openGenerator']>>;

const WARM_UP: GenerateRun = { promptTokens: 32, newTokens: 4, sequences: 1 };

async function main(job: GenerateJob): Promise<GenerateAnswer> {
  const library: Library = await import(pathToFileURL(job.library).href);
  const { model, threads, compute } = job;
  const prompts = await promptsOf(library, job);
  const promptsOfRun = ({ promptTokens }: GenerateRun) => prompts.get(promptTokens) as string[];
  const begunMs = performance.now();
  const generator = await library.openGenerator({ model, threads, compute, backend: 'native' });
  const loadSeconds = (performance.now() - begunMs) / 1000;
  await timeRun(generator, WARM_UP, promptsOfRun(WARM_UP));
  const runs: GenerateTimes[] = [];
  for (const run of job.runs) {
    runs.push(await timeRun(generator, run, promptsOfRun(run)));
  }
  generator.close();
  return { loadSeconds, runs };
}

/** A model of random weights may end a text at any token: so many prompts are tried. */
const PROMPTS = 8;

/** Some prompts by their length. Its tokenizer is gone before the generator loads its own. */
async function promptsOf(
  library: Library,
  { model, text, runs }: GenerateJob,
): Promise<ReadonlyMap<number, string[]>> {
  const tokenizer = await library.loadTokenizer(model);
  const source = readFileSync(text, 'utf8');
  const lengths = new Set([WARM_UP, ...runs].map(({ promptTokens }) => promptTokens));
  // Every prompt begins elsewhere: none goes on from what another has computed.
  const prompt = (count: number, index: number) =>
    textOfTokens(tokenizer, source.slice(count + 4096 * index), count);
  const promptsOfLength = (count: number) =>
    Array.from({ length: PROMPTS }, (_, index) => prompt(count, index));
  return new Map([...lengths].map((count) => [count, promptsOfLength(count)]));
}

/**
 * Times a generation of all its tokens: a step that records others is not what a step takes.
 *
 * @throws Error when the model ends its text after every prompt
 */
async function timeRun(
  generator: Generator,
  { newTokens, sequences }: GenerateRun,
  prompts: readonly string[],
): Promise<GenerateTimes> {
  for (const prompt of prompts) {
    const completion = await generator.complete({
      prompt,
      // The first token comes from the prompt's logits.
      maxNewTokens: newTokens + 1,
      sequences,
      temperature: sequences > 1 ? 1 : 0,
      seed: 1,
    });
    const { prompt_ms, decode_ms } = completion.timings;
    const steps = Math.max(...completion.choices.map(({ ids }) => ids.length)) - 1;
    if (steps < newTokens) continue;
    return { promptSeconds: prompt_ms / 1000, stepSeconds: decode_ms / 1000 / Math.max(1, steps) };
  }
  throw new Error(`the model ends its text before ${newTokens} tokens`);
}

const answer = await main(JSON.parse(process.argv[2] as string));
process.stdout.write(`${JSON.stringify(answer)}\n`);
