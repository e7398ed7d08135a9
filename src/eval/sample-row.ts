import { createHash } from 'node:crypto';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Sample, TaskResult } from './harness.js';

/** A line of `samples_<task>_<date>.jsonl` in lm-evaluation-harness's layout, tokens added. */
export type SampleRow = Readonly<Record<string, unknown>> & {
  readonly doc_hash: string;
  readonly prompt_hash: string;
  readonly target_hash: string;
};

/** The log of a task's documents. */
export function* sampleRows(result: TaskResult, tokenizer: Tokenizer): Generator<SampleRow> {
  for (const [id, sample] of result.samples.entries()) yield sampleRow(id, sample, tokenizer);
}

function sampleRow(id: number, sample: Sample, tokenizer: Tokenizer): SampleRow {
  const { document, rows, rowScores, scores, values } = sample;
  const args = argumentsOf(sample, tokenizer);
  const answers = scores.map(({ logprob, greedy }) => [logprob, greedy]);
  return {
    doc_id: id,
    doc: document.fields,
    target: String(document.target),
    arguments: Object.fromEntries(
      args.map(([context, continuation], i) => [
        `gen_args_${i}`,
        { arg_0: context, arg_1: continuation },
      ]),
    ),
    resps: answers.map((answer) => [answer]),
    filtered_resps: answers,
    filter: 'none',
    metrics: Object.keys(values),
    ...sampleHashes(sample),
    ...values,
    token_ids: rows.flat().map((row) => Array.from(row.ids)),
    token_logprobs: rowScores.flat().map((score) => Array.from(score.logprobs)),
  };
}

/** Per request its context and continuation, as text. */
function argumentsOf(sample: Sample, tokenizer: Tokenizer): readonly (readonly [string, string])[] {
  return sample.requests.map((request) => {
    if (request.kind === 'continuation') return [request.context, request.continuation];
    const [before, after] = [(from: number) => [0, from], (from: number) => [from]].map((range) =>
      request.rows
        .map(({ ids, from }) => tokenizer.decode(Array.from(ids).slice(...range(from))))
        .join(''),
    );
    return [before ?? '', after ?? ''];
  });
}

/** Hashes by which two runs are seen to be of the same documents and prompts. */
export function sampleHashes({
  document,
  requests,
}: Pick<Sample, 'document' | 'requests'>): Pick<
  SampleRow,
  'doc_hash' | 'prompt_hash' | 'target_hash'
> {
  const [first] = requests;
  return {
    doc_hash: sha256(JSON.stringify(document.fields, null, 2)),
    prompt_hash: sha256(first?.kind === 'continuation' ? first.context : ''),
    target_hash: sha256(String(document.target)),
  };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
