// Times node-llama-cpp on a GGUF file, in a process of its own:
//   node time-node-llama-cpp.js '{"model": …, "threads": 2, "promptTokens": 512, "newTokens": 64}'
import { getLlama } from 'node-llama-cpp';

const { model: modelPath, threads, promptTokens, newTokens } = JSON.parse(process.argv[2]);
const BATCH = 512;
const FIRST_ID = 300;

const llama = await getLlama({
  gpu: false,
  build: 'never',
  logLevel: 'error',
  maxThreads: threads,
});
const begunMs = performance.now();
const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
const loadSeconds = (performance.now() - begunMs) / 1000;

const contextSize = promptTokens + newTokens + BATCH;
const context = await model.createContext({ contextSize, threads, batchSize: BATCH });
const sequence = context.getSequence();
const ids = (count) => Array.from({ length: count }, (_, i) => FIRST_ID + i);

/** Seconds of a prompt, and of the tokens after the first. */
async function time(promptIds, count) {
  await sequence.clearHistory();
  const startMs = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(promptIds);
  const promptMs = performance.now() - startMs;
  let firstMs = 0;
  let tokens = 0;
  for await (const _ of sequence.evaluate([FIRST_ID], { temperature: 0 })) {
    if (tokens === 0) firstMs = performance.now();
    tokens++;
    if (tokens > count) break;
  }
  return { prompt: promptMs / 1000, decode: (performance.now() - firstMs) / 1000 };
}

await time(ids(32), 4);
const { prompt } = await time(ids(promptTokens), 1);
const { decode } = await time(ids(1), newTokens);
const answer = { loadSeconds, prefill: promptTokens / prompt, decode: newTokens / decode };
process.stdout.write(`${JSON.stringify(answer)}\n`);
await llama.dispose();
