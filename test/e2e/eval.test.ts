import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startHub } from '../helpers/hub-server.js';
import { sharedData } from '../helpers/shared-data.js';
import { runCli, runJson, temporaryFolder } from './helpers.js';
import { writeTinyCheckpoint } from './tiny-checkpoint.js';

const MODEL = await writeTinyCheckpoint(join(temporaryFolder(), 'tiny'));
const STORIES = join('fixtures', 'tasks', 'stories.jsonl');
const REVIEWS = join('fixtures', 'tasks', 'reviews.jsonl');
const HELLASWAG = ['eval', MODEL, '--tasks', 'hellaswag', '--data', `hellaswag=${STORIES}`];

/** Files anywhere below a folder, sorted. */
const filesBelow = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

function input(name: string, content: string): string {
  const path = join(temporaryFolder(), name);
  writeFileSync(path, content);
  return path;
}

test('prints the table; files below -o say the same, and a second run replaces none', async () => {
  const out = join(temporaryFolder(), 'out');
  const printed = await runCli([...HELLASWAG, '--log-samples', '-o', out]);
  expect(printed.code).toBe(0);
  expect(printed.stdout).toMatch(
    /\|hellaswag\|\s+1\|none {2}\|\s+0\|acc +\|↑ {2}\|[01]\.\d{4}\|± {2}\|0\.\d{4}\|\n/,
  );
  const first = filesBelow(out);
  const named = first.map((path) => path.replace(/^.*\//, '').replace(/_\d{4}-.*(?=\.)/, ''));
  expect(named.sort()).toEqual([
    'llmkit.json',
    'report.html',
    'report.md',
    'results.json',
    'samples_hellaswag.jsonl',
  ]);
  const before = first.map((path) => readFileSync(path, 'utf8'));
  const json = await runJson([...HELLASWAG, '-o', out]);
  expect(first.map((path) => readFileSync(path, 'utf8'))).toEqual(before);
  const second = filesBelow(out).filter((path) => !first.includes(path));
  const results = second.filter((path) => path.includes('results_'));
  expect(JSON.parse(readFileSync(results[0] ?? '', 'utf8'))).toEqual(json);
  expect(second.length).toBe(3);
});

test('the log has prompts, tokens and log-probabilities that add up', async () => {
  const out = temporaryFolder();
  const json = await runJson([...HELLASWAG, '--log-samples', '--num-fewshot', '2', '-o', out]);
  const path = filesBelow(out).find((file) => file.includes('samples_')) ?? '';
  const rows = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(rows.map((row) => row.doc_id)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  const row = rows[1];
  expect(Object.keys(row.arguments)).toEqual([
    'gen_args_0',
    'gen_args_1',
    'gen_args_2',
    'gen_args_3',
  ]);
  expect(row.arguments.gen_args_0.arg_0.split('\n\n')).toHaveLength(3);
  expect(row.arguments.gen_args_0.arg_1).toBe(' Put the flour in.');
  row.filtered_resps.forEach(([logprob]: [number], i: number) => {
    const sum = row.token_logprobs[i].reduce((a: number, b: number) => a + b, 0);
    expect(logprob).toBeCloseTo(sum, 9);
    expect(row.token_ids[i].length).toBeGreaterThan(row.token_logprobs[i].length);
  });
  const acc = rows.reduce((sum, { acc }) => sum + acc, 0) / rows.length;
  expect(json.results.hellaswag['acc,none']).toBeCloseTo(acc, 12);
  expect(json['n-shot'].hellaswag).toBe(2);
});

test('several tasks in one run; --limit takes documents, and windows of a text', async () => {
  const text = input('text.txt', 'the small bird sang in the tree. '.repeat(40));
  const json = await runJson([
    ...[
      'eval',
      MODEL,
      '--tasks',
      'perplexity,classification',
      '--limit',
      '2',
      '--labels',
      'sad,happy',
    ],
    ...['--data', `perplexity=${text}`, '--data', `classification=${REVIEWS}`, '--stride', '64'],
  ]);
  expect(Object.keys(json.results)).toEqual(['perplexity', 'classification']);
  expect(json['n-samples'].perplexity.effective).toBe(2);
  expect(json['n-samples'].classification).toEqual({ original: 8, effective: 2 });
  const { 'perplexity,none': perplexity, 'bits_per_byte,none': bits } = json.results.perplexity;
  expect(perplexity).toBeGreaterThan(1);
  // The first window of 128 tokens has 127 to score, the next one 64 new ones.
  expect(json['n-tokens'].perplexity).toEqual({ seen: 256, scored: 127 + 64 });
  expect(bits).toBeGreaterThan(0);
});

test('the chat template asks as a user', async () => {
  const out = temporaryFolder();
  const args = ['eval', MODEL, '--tasks', 'classification', '--data', `classification=${REVIEWS}`];
  const json = await runJson([
    ...[...args, '--labels', 'sad,happy', '--limit', '1', '--apply-chat-template'],
    ...['--prompt-template', 'Mood?\\n{text}', '--log-samples', '-o', out],
  ]);
  const path = filesBelow(out).find((file) => file.includes('samples_')) ?? '';
  const row = JSON.parse(readFileSync(path, 'utf8'));
  expect(row.arguments.gen_args_0).toEqual({
    arg_0: '<s><|user|>Mood?\na very good story<|assistant|>',
    arg_1: 'sad',
  });
  expect(row.token_ids[0].filter((id: number) => id === row.token_ids[0][0])).toHaveLength(1);
  expect(json.chat_template_sha).toMatch(/^[0-9a-f]{64}$/);
});

test('what makes numbers differ from published ones is said', async () => {
  const { stderr } = await runCli([...HELLASWAG, '--num-fewshot', '4', '--limit', '1']);
  expect(stderr).toContain('warning: hellaswag: few-shot examples come from the evaluated');
  expect(stderr).toMatch(/warning: hellaswag: 4 of 4 prompts are longer than the context/);
});

test('--dry-run says what would be asked and writes nothing', async () => {
  const out = join(temporaryFolder(), 'out');
  const { code, stdout } = await runCli([...HELLASWAG, '--dry-run', '-o', out, '--limit', '1']);
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /^hellaswag: 1 documents, 4 rows, \d+ tokens from .*stories\.jsonl\n {2}\| Playing: /,
  );
  expect(existsSync(out)).toBe(false);
});

test('a quality gate that is not met is exit 3', async () => {
  const passed = await runCli([...HELLASWAG, '--min-acc', '0']);
  const missed = await runCli([...HELLASWAG, '--min-acc', '1']);
  expect([passed.code, missed.code]).toEqual([0, 3]);
  expect(missed.stderr).toContain('below --min-acc 1');
  expect(missed.stdout).toContain('|hellaswag|');
});

test.each([
  [['perplexity', '--data', 'perplexity=nowhere.txt', '--min-acc', '0.5'], /--min-acc: .* has acc/],
  [['hellaswag', '--max-perplexity', '9'], /--max-perplexity: .* has perplexity, got hellaswag/],
])('a gate that no task of %j has is refused before anything is read', async (args, message) => {
  const { code, stderr } = await runCli(['eval', MODEL, '--tasks', ...args]);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(message) });
});

describe('mistakes', () => {
  const broken = input('broken.jsonl', '{"text": "a", "label": "b"}\n{"text": \n');
  const lacking = input('lacking.jsonl', '{"text": "a", "label": "b"}\n{"text": "c"}\n');
  const numbers = input('numbers.jsonl', '{"text": "a", "label": 1}\n');
  const classification = (path: string) => ['classification', '--data', `classification=${path}`];
  test.each([
    [['helaswag'], /unknown task 'helaswag'.*did you mean hellaswag\?/],
    [['perplexity'], /perplexity: expected its data.*--data perplexity=FILE/],
    [['perplexity', '--data', 'perplexity=nowhere.txt'], /no such file.*|nowhere\.txt/],
    [
      ['perplexity', '--data', 'perplexiti=x'],
      /'perplexiti' is no task of --tasks.*did you mean perplexity\?/,
    ],
    [classification(broken), /broken\.jsonl:2: expected a JSON object/],
    [
      classification(lacking),
      /lacking\.jsonl:2: the field label is missing; expected \{text, label\}/,
    ],
    [classification(numbers), /numbers\.jsonl:1: .*--labels a,b,c/],
    [
      ['hellaswag', '--data', `hellaswag=${REVIEWS}`],
      /reviews\.jsonl:1: the field ctx_a is missing; expected \{activity_label, ctx_a/,
    ],
    [
      ['hellaswag', '--data', `hellaswag=${STORIES}`, '--limit', '1.5'],
      /limit.*whole number or a fraction/,
    ],
    [['hellaswag', '--data', `hellaswag=${STORIES}`, '--num-fewshot', '7'], /at least 8 documents/],
    [['hellaswag', '--data', `hellaswag=${STORIES}`, '--batch-size', 'many'], /batch-size/],
    [['hellaswag', '--data', `hellaswag=${STORIES}`, '--context-length', '129'], /at most 128/],
  ])('%s', async (args, said) => {
    const out = join(temporaryFolder(), 'out');
    const { code, stdout, stderr } = await runCli(['eval', MODEL, '-o', out, '--tasks', ...args]);
    expect(stderr).toMatch(said);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(12);
    expect(existsSync(out)).toBe(false);
  });

  test('--fewshot-data of no task; --log-samples without a folder', async () => {
    const few = await runCli([...HELLASWAG, '--fewshot-data', `helaswag=${STORIES}`]);
    expect(few.stderr).toMatch(/--fewshot-data: 'helaswag' is no task .*did you mean hellaswag\?/);
    const log = await runCli([...HELLASWAG, '--log-samples']);
    expect(log.stderr).toMatch(/--log-samples writes files: say where with --output/);
    expect([few.code, log.code]).toEqual([2, 2]);
  });

  test('-o that is a file', async () => {
    const { code, stderr } = await runCli([...HELLASWAG, '-o', REVIEWS]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('expected a folder')]);
  });
});

describe('without --data', () => {
  const parquet = (name: string) => readFileSync(join('fixtures', 'tasks', `${name}.parquet`));
  const files = {
    'data/validation-00000-of-00001.parquet': parquet('stories'),
    'data/train-00000-of-00001.parquet': parquet('train'),
  };
  const args = ['eval', MODEL, '--tasks', 'hellaswag', '--limit', '1'];

  test('hellaswag comes from the hub once, then from the cache', async () => {
    const hub = await startHub({ name: 'Rowan/hellaswag', type: 'dataset', files });
    const env = { HF_HOME: temporaryFolder(), HF_ENDPOINT: hub.url, HF_HUB_OFFLINE: '' };
    const online = await runJson(args, { env });
    expect(online['n-samples'].hellaswag).toEqual({ original: 7, effective: 1 });
    await runJson([...args, '--num-fewshot', '1'], { env });
    expect(hub.transfers.map((transfer) => transfer.split(' ')[1])).toEqual(Object.keys(files));
    const offline = await runJson(args, { env: { ...env, HF_HUB_OFFLINE: '1' } });
    expect(offline.results).toEqual(online.results);
  });

  test('offline and never fetched: the error has the command that fetches it', async () => {
    const env = { HF_HOME: temporaryFolder(), HF_HUB_OFFLINE: '1' };
    const { code, stderr } = await runCli(args, { env });
    expect(code).toBe(1);
    expect(stderr).toContain(
      'hf download Rowan/hellaswag data/validation-00000-of-00001.parquet --repo-type dataset',
    );
    expect(stderr).toContain('--data hellaswag=FILE');
  });
});

const ADAPTER = sharedData('peft', 'lora_all_linear');
test.skipIf(!ADAPTER)('an adapter changes the numbers and is named', async () => {
  const text = join('fixtures', 'tasks', 'reviews.jsonl');
  const base = [
    ...['eval', sharedData('stories260k-hf') ?? '', '--tasks', 'perplexity'],
    ...['--data', `perplexity=${text}`],
  ];
  const plain = await runJson(base);
  const adapted = await runJson([...base, '--adapter', ADAPTER ?? '']);
  expect(adapted.config.model_args.peft).toBe(ADAPTER);
  expect(adapted.task_hashes).toEqual(plain.task_hashes);
  expect(adapted.results.perplexity['perplexity,none']).not.toBe(
    plain.results.perplexity['perplexity,none'],
  );
});
