import * as z from 'zod';
import { LlmkitError } from '../../errors.js';
import { KV_DTYPE_CHOICES } from '../../tensor/kv-dtype.js';
import { deviceMapFlags, deviceMapOf, deviceMapShape } from '../../workflows/device-map.js';
import type { CompletionRequest, Generator } from '../../workflows/generate.js';
import { converse } from '../chat.js';
import { type ConfigOf, defineCommand, type Io } from '../command.js';
import { showDownloads } from '../downloads.js';

const shape = {
  model: z.string().min(1),
  adapter: z.string().min(1).optional(),
  prompt: z.string().optional(),
  max_new_tokens: z.int().min(0).optional(),
  temperature: z.number().min(0).optional(),
  top_k: z.int().min(1).optional(),
  top_p: z.number().gt(0).max(1).optional(),
  repetition_penalty: z.number().gt(0).optional(),
  stop: z.array(z.string().min(1)).default([]),
  num_return_sequences: z.int().min(1).max(1024).default(1),
  chat: z.boolean().default(false),
  system: z.string().optional(),
  echo: z.boolean().default(false),
  logprobs: z.int().min(0).max(1000).optional(),
  kv_dtype: z.enum(KV_DTYPE_CHOICES).default('auto'),
  cache_packed: z.boolean().default(false),
  ...deviceMapShape,
  dry_run: z.boolean().default(false),
};

type GenerateConfig = ConfigOf<typeof shape>;

/** `llmkit generate`: continues a prompt, or converses. */
export const generate = defineCommand({
  name: 'generate',
  summary: 'Continue a prompt, or converse with --chat',
  description:
    'Streams the new text. Greedy unless --temperature, --top-k or --top-p, or the model’s own\n' +
    'generation_config.json, samples. The same seed gives the same text.',
  arguments: [{ key: 'model', name: 'MODEL', description: 'folder or hub id', kind: 'model' }],
  shape,
  flags: {
    prompt: { short: 'p', value: 'TEXT', description: 'text to continue; - reads it from stdin' },
    adapter: { value: 'DIR', description: 'a PEFT adapter on top of the model' },
    max_new_tokens: { value: 'N', description: 'new tokens at most; left out: 256; 0 only scores' },
    temperature: { value: 'T', description: 'above 1 bolder, below 1 surer, 0 greedy' },
    top_k: { value: 'K', description: 'sample from the K most probable tokens' },
    top_p: { value: 'P', description: 'sample from the most probable tokens that add up to P' },
    repetition_penalty: { value: 'X', description: 'above 1: tokens seen before become rarer' },
    stop: { value: 'TEXT', repeat: true, description: 'end before this text (repeatable)' },
    num_return_sequences: { value: 'N', description: 'how many texts to sample' },
    chat: { description: 'render the prompt as a user’s turn; without --prompt, converse' },
    system: { value: 'TEXT', description: 'the system’s turn, with --chat' },
    echo: { description: 'begin with the prompt' },
    logprobs: { value: 'N', description: 'with --json: log-probabilities, and the N best tokens' },
    kv_dtype: { value: 'TYPE', description: 'what keys and values are kept in' },
    cache_packed: { description: 'keep packed weights beside the model, for a quicker start' },
    ...deviceMapFlags,
    dry_run: { description: 'show the prompt as the model sees it, and sizes; load no weights' },
  },
  examples: [
    {
      command: 'llmkit generate ./model --prompt "Once upon a time"',
      does: 'continue a text, greedily',
    },
    {
      command: 'llmkit generate ./model --prompt "The dog" --temperature 0.8 --top-p 0.95 --seed 7',
      does: 'sample; the seed makes it repeatable',
    },
    {
      command: 'cat question.txt | llmkit generate ./model --adapter ./adapter --chat --prompt -',
      does: 'answer a question from a file with a fine-tuned adapter',
    },
    { command: 'llmkit generate ./model --chat', does: 'converse on the terminal' },
    {
      command:
        'llmkit generate ./model --prompt "2 + 2 = 4" --max-new-tokens 0 --echo --logprobs 5 --json',
      does: 'score a text, token by token',
    },
  ],
  check(config, problem) {
    if (config.system !== undefined && !config.chat) problem('system', 'needs --chat');
    if (config.chat && config.prompt === undefined && config.num_return_sequences > 1) {
      problem('num_return_sequences', 'needs --prompt: a conversation has one answer');
    }
  },
  async run(config, io) {
    checkOutput(config, io);
    const prompt = config.prompt === '-' ? await readPrompt(io) : config.prompt;
    if (config.dry_run) return showPlan(config, prompt ?? '', io);
    const generator = await open(config, io);
    try {
      if (prompt === undefined)
        await converse(generator, { request: requestOf(config, io), system: config.system }, io);
      else await complete(generator, config, prompt, io);
    } finally {
      generator.close();
    }
    return 0;
  },
});

async function open(config: GenerateConfig, io: Io): Promise<Generator> {
  const { openGenerator } = await import('../../workflows/generate.js');
  const { model, adapter, backend, device, threads, compute } = config;
  const logprobs = config.logprobs !== undefined;
  const onWarning = (text: string) => io.warn(text);
  const onDownload = showDownloads(io);
  const arithmetic = { backend, device, threads, compute, kvDtype: config.kv_dtype, logprobs };
  const cachePacked = config.cache_packed;
  const map = deviceMapOf(config, io.note);
  return openGenerator({
    model,
    adapter,
    ...arithmetic,
    ...map,
    cachePacked,
    onWarning,
    onDownload,
  });
}

async function showPlan(config: GenerateConfig, text: string, io: Io): Promise<0> {
  const { planGeneration } = await import('../../workflows/generate.js');
  const prompt = promptOf(config, text);
  const { model, adapter, compute, kv_dtype: kvDtype } = config;
  const options = { model, adapter, compute, kvDtype };
  const plan = await planGeneration(options, { ...requestOf(config, io), prompt });
  if (io.json) io.printJson(plan);
  else
    for (const [key, value] of Object.entries(plan))
      io.stdout(`${key}: ${JSON.stringify(value)}\n`);
  return 0;
}

/** What needs the terminal or `--json` is refused before the model is loaded. */
function checkOutput(config: GenerateConfig, io: Io): void {
  if (config.logprobs !== undefined && !io.json) {
    throw new LlmkitError(
      'usage',
      '--logprobs: the probabilities are part of the JSON; add --json',
    );
  }
  if (config.prompt !== undefined) return;
  if (!config.chat) {
    throw new LlmkitError(
      'usage',
      'generate: --prompt is missing (--prompt TEXT, or --prompt - for stdin)',
    );
  }
  if (!io.interactive || io.json) {
    throw new LlmkitError(
      'usage',
      'generate: --chat without --prompt converses on a terminal; here, give --prompt TEXT, or - for stdin',
    );
  }
}

/** stdin without the newline that ends its last line, as the shell's `$(…)` does. */
async function readPrompt(io: Io): Promise<string> {
  return (await io.readStdin()).replace(/\r?\n$/, '');
}

function requestOf(config: GenerateConfig, io: Io): Omit<CompletionRequest, 'prompt'> {
  return {
    maxNewTokens: config.max_new_tokens,
    temperature: config.temperature,
    topK: config.top_k,
    topP: config.top_p,
    repetitionPenalty: config.repetition_penalty,
    seed: config.seed,
    stop: config.stop,
    sequences: config.num_return_sequences,
    echo: config.echo,
    logprobs: config.logprobs,
    signal: io.signal,
  };
}

async function complete(
  generator: Generator,
  config: GenerateConfig,
  text: string,
  io: Io,
): Promise<void> {
  const prompt = promptOf(config, text);
  const streams = !io.json && config.num_return_sequences === 1;
  const onText = streams ? { onText: (piece: string) => io.stdout(piece) } : {};
  const completion = await generator.complete({ ...requestOf(config, io), prompt, ...onText });
  const { choices, timings } = completion;
  if (io.json) io.printJson(completion);
  else if (!streams)
    for (const choice of choices) io.stdout(`[${choice.index + 1}] ${choice.text}\n`);
  else if (!choices[0]?.text.endsWith('\n')) io.stdout('\n');
  const count = completion.usage.completion_tokens;
  const speed = `${count} tokens · ${timings.decode_tokens_per_second} tokens/s`;
  io.note(
    `${speed} · ${generator.backend} · compute ${generator.compute} · kv ${generator.kvDtype}`,
  );
}

/** The text, or under --chat the conversation that it begins. */
function promptOf({ chat, system }: GenerateConfig, text: string): CompletionRequest['prompt'] {
  const turn = { role: 'user', content: text };
  if (!chat) return text;
  return system === undefined ? [turn] : [{ role: 'system', content: system }, turn];
}
