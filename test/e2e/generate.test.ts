import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { sharedData } from '../helpers/shared-data.js';
import { runCli, runJson, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const MODEL = await writeTinyCheckpoint(join(temporaryFolder(), 'tiny'));
const PROMPT = ['generate', MODEL, '--prompt', 'the small bird'];

test('streams the continuation to stdout, and the pace to stderr', async () => {
  const { code, stdout, stderr } = await runCli([...PROMPT, '--max-new-tokens', '6']);
  const { choices, backend } = await runJson([...PROMPT, '--max-new-tokens', '6']);
  expect(code).toBe(0);
  expect(stdout).toBe(`${choices[0].text}\n`);
  expect(stderr).toContain(`tokens/s · ${backend}`);
  expect((await runCli([...PROMPT, '--max-new-tokens', '6', '--quiet'])).stderr).toBe('');
});

test('--echo begins with the prompt', async () => {
  const plain = await runCli([...PROMPT, '--max-new-tokens', '6']);
  const echoed = await runCli([...PROMPT, '--max-new-tokens', '6', '--echo']);
  expect(echoed.stdout).toBe(`the small bird${plain.stdout}`);
});

test('the JSON is one completion object whose parts agree', async () => {
  const { choices, usage, timings, backend } = await runJson([
    ...PROMPT,
    ...['--max-new-tokens', '5', '--echo', '--logprobs', '3'],
  ]);
  const { ids, logprobs, text, finish_reason } = choices[0];
  expect(ids).toHaveLength(usage.prompt_tokens + usage.completion_tokens);
  expect(usage.total_tokens).toBe(ids.length);
  expect(finish_reason).toBe('length');
  expect(backend).toMatch(/^(native|reference)/);
  expect(timings.decode_tokens_per_second).toBeGreaterThan(0);
  for (const list of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset']) {
    expect(logprobs[list]).toHaveLength(ids.length);
  }
  expect([logprobs.token_logprobs[0], logprobs.top_logprobs[0]]).toEqual([null, null]);
  for (const [i, best] of logprobs.top_logprobs.slice(1).entries()) {
    expect(best).toHaveLength(3);
    expect(best[0].logprob).toBeGreaterThanOrEqual(logprobs.token_logprobs[i + 1]);
  }
  // Greedy: the new ids are the best ones.
  const best = logprobs.top_logprobs.map((one: { id: number }[] | null) => one?.[0]?.id);
  expect(ids.slice(usage.prompt_tokens)).toEqual(best.slice(usage.prompt_tokens));
  const offsets: number[] = logprobs.text_offset;
  expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
  expect(offsets.at(-1)).toBeLessThan([...text].length);
});

test('scoring a text gives the probabilities that writing it gave', async () => {
  const written = await runJson([...PROMPT, '--max-new-tokens', '5', '--echo', '--logprobs', '0']);
  const text = written.choices[0].text;
  const scored = await runJson([
    ...['generate', MODEL, '--prompt', text],
    ...['--max-new-tokens', '0', '--echo', '--logprobs', '0'],
  ]);
  expect(scored.choices[0].finish_reason).toBe('length');
  expect(scored.usage.completion_tokens).toBe(0);
  // The text may be cut into other tokens than it was written in.
  if (String(scored.choices[0].ids) !== String(written.choices[0].ids)) return;
  for (const [i, logprob] of scored.choices[0].logprobs.token_logprobs.entries()) {
    if (i > 0) expect(logprob).toBeCloseTo(written.choices[0].logprobs.token_logprobs[i], 4);
  }
});

test('sampled sequences differ, and their seed repeats them', async () => {
  const args = [...PROMPT, '--max-new-tokens', '8', '--temperature', '1'];
  const texts = async (...more: string[]) => {
    const { choices } = await runJson([...args, ...more]);
    return choices.map(({ text }: { text: string }) => text);
  };
  const three = await texts('--seed', '5', '--num-return-sequences', '3');
  expect(new Set(three).size).toBe(3);
  expect(await texts('--seed', '5', '--num-return-sequences', '3')).toEqual(three);
  expect(await texts('--seed', '5')).toEqual(three.slice(0, 1));
  expect(await texts('--seed', '6')).not.toEqual(three.slice(0, 1));
  const { stdout } = await runCli([...args, '--seed', '5', '--num-return-sequences', '3']);
  expect(stdout).toBe(three.map((text: string, i: number) => `[${i + 1}] ${text}\n`).join(''));
});

test('the model’s generation_config.json samples, temperature 0 overrules it', async () => {
  const model = await writeTinyCheckpoint(join(temporaryFolder(), 'sampling'));
  const args = ['generate', model, '--prompt', 'a', '--max-new-tokens', '8'];
  const greedy = await runJson(args);
  writeFileSync(join(model, 'generation_config.json'), '{"do_sample": true, "temperature": 2}');
  expect((await runJson(args)).choices[0].ids).not.toEqual(greedy.choices[0].ids);
  expect((await runJson([...args, '--temperature', '0'])).choices[0].ids).toEqual(
    greedy.choices[0].ids,
  );
});

test('the prompt may come from stdin, its last newline is dropped', async () => {
  const args = ['generate', MODEL, '--prompt', '-', '--max-new-tokens', '3'];
  const { stdout } = await runCli(args, { input: 'the small bird\n' });
  expect(stdout).toBe((await runCli([...PROMPT, '--max-new-tokens', '3'])).stdout);
});

test('an empty prompt starts from the BOS token', async () => {
  const args = ['generate', MODEL, '--prompt', '', '--max-new-tokens', '1', '--echo'];
  expect((await runJson(args)).choices[0].ids[0]).toBe(0);
});

test('--chat renders the turns with the model’s template', async () => {
  const ids = async (...args: string[]) => {
    const json = await runJson(['generate', MODEL, '--max-new-tokens', '1', '--echo', ...args]);
    return json.choices[0].ids;
  };
  const rendered = '<|system|>be brief<|user|>hello<|assistant|>';
  expect(await ids('--chat', '--system', 'be brief', '--prompt', 'hello')).toEqual(
    await ids('--prompt', rendered),
  );
});

test('usage errors', async () => {
  const cases: [string[], RegExp, number][] = [
    [['--prompt', 'word '.repeat(200)], /tokens, \d+ more than the model's context of 128/, 2],
    [[], /--prompt is missing/, 2],
    [['--chat'], /converses on a terminal/, 2],
    [['--prompt', 'a', '--logprobs', '2'], /add --json/, 2],
    [['--prompt', 'a', '--num-return-sequences', '2'], /--temperature 1/, 2],
    [['--prompt', 'a', '--system', 'x'], /--system needs --chat/, 2],
    [['--prompt', 'a', '--top-p', '1.5'], /--top-p must be at most 1, got 1.5/, 2],
  ];
  for (const [args, message, code] of cases) {
    const result = await runCli(['generate', MODEL, ...args]);
    expect(result.stderr).toMatch(message);
    expect(result).toMatchObject({ code, stdout: '' });
  }
});

const stories = sharedData('stories260k-hf');
/** The reference backend writes some ten tokens a second. */
const LENGTH = process.env.LLMKIT_BACKEND === 'reference' ? 8 : 48;

test.runIf(stories)(
  'greedy ids and probabilities are the original program’s',
  async () => {
    const path = stories ?? '';
    const { cases } = JSON.parse(readFileSync(join(path, 'reference.json'), 'utf8'));
    for (const { prompt, prompt_ids, generated_ids, logprobs } of cases) {
      const { choices } = await runJson([
        ...['generate', path, '--prompt', prompt, '--max-new-tokens', `${LENGTH}`],
        ...['--echo', '--logprobs', '1'],
      ]);
      expect(choices[0].ids).toEqual([...prompt_ids, ...generated_ids.slice(0, LENGTH)]);
      const got: (number | null)[] = choices[0].logprobs.token_logprobs;
      for (const [i, logprob] of got.slice(1).entries()) {
        expect(Math.abs((logprob ?? Number.NaN) - logprobs[i])).toBeLessThan(1e-4);
      }
    }
  },
  120_000,
);

test.runIf(stories)('a stop string ends the text, also over several tokens', async () => {
  const args = ['generate', stories ?? '', '--prompt', 'Once upon a time'];
  const { choices } = await runJson([...args, '--max-new-tokens', '60', '--stop', 'named Lily']);
  expect(choices[0]).toMatchObject({
    text: ', there was a little girl ',
    finish_reason: 'stop',
  });
  const { stdout } = await runCli([...args, '--max-new-tokens', '60', '--stop', 'named Lily']);
  expect(stdout).toBe(', there was a little girl \n');
});

test.runIf(stories)('one and two threads, and the reference backend, agree', async () => {
  const args = [
    'generate',
    stories ?? '',
    '--prompt',
    'Zoo',
    '--max-new-tokens',
    '12',
    '--logprobs',
    '1',
  ];
  const run = (...more: string[]) => runJson([...args, ...more]);
  const one = await run('--threads', '1');
  expect((await run('--threads', '2')).choices).toEqual(one.choices);
  const reference = await run('--backend', 'reference');
  expect(reference.choices[0].ids).toEqual(one.choices[0].ids);
  const logprobs: number[] = reference.choices[0].logprobs.token_logprobs;
  for (const [i, logprob] of logprobs.entries()) {
    expect(logprob).toBeCloseTo(one.choices[0].logprobs.token_logprobs[i], 4);
  }
});
