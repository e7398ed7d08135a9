import type { ScoreRow } from '../model/score.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Metric, MetricValue } from './metrics.js';

/** What is asked of the model: the log-probability of one text after another, or of tokens. */
export type Request =
  | { readonly kind: 'continuation'; readonly context: string; readonly continuation: string }
  /** Rows whose scored tokens together are one answer (windows of a long text). */
  | { readonly kind: 'tokens'; readonly rows: readonly ScoreRow[] };

/** The model's answer to one request. */
export interface RequestScore {
  /** Sum of the natural-log probabilities of the scored tokens. */
  readonly logprob: number;
  /** Every scored token was the most probable one. */
  readonly greedy: boolean;
  /** Number of scored tokens. */
  readonly tokens: number;
}

/** What stands before an answer. */
export interface Prompt {
  readonly context: string;
  /** Goes between the context and an answer: a space, or nothing after a chat template. */
  readonly delimiter: string;
}

/** One document of a task: how it is asked, and how the model's answers are judged. */
export interface EvalDocument {
  /** Its fields, for the log; two documents with equal fields are the same document. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** The right answer, for the log. */
  readonly target: string | number;
  /** The question, and its answer where the document serves as a solved example. */
  readonly turn?: { readonly question: string; readonly answer: string };
  requests(prompt: Prompt): readonly Request[];
  /** @returns one value per metric of the task */
  measure(scores: readonly RequestScore[]): Readonly<Record<string, MetricValue>>;
}

/** What the user may set of a task. */
export interface TaskOptions {
  /** Labels of a classification. */
  readonly labels?: readonly string[] | undefined;
  /** How a document is asked, with `{field}` in place of its fields. */
  readonly promptTemplate?: string | undefined;
  /** How far the window of a perplexity moves, in tokens. */
  readonly stride?: number | undefined;
}

/** What a task's documents are made with. */
export interface TaskSetup {
  readonly tokenizer: Tokenizer;
  readonly contextLength: number;
  readonly options: TaskOptions;
}

/** Files of a data set on the hub, by the part they play. */
export interface HubDataset {
  readonly repo: string;
  readonly evaluated: string;
  /** Few-shot examples are drawn from this file; without it from the evaluated one. */
  readonly fewShot?: string;
}

/** An evaluation task: a way to read documents, and metrics over them. */
export interface Task {
  /** lm-evaluation-harness's version where it has this task. */
  readonly version: number;
  readonly summary: string;
  /** Its data by default; without it the user gives a file. */
  readonly hub?: HubDataset;
  readonly metrics: Readonly<Record<string, Metric>>;
  /** @throws LlmkitError `config` naming file and line */
  documents(path: string, setup: TaskSetup): Promise<readonly EvalDocument[]>;
}
