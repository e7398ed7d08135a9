import { LlmkitError } from '../errors.js';
import { type Metric, mean } from './metrics.js';
import { codePointLength } from './python-text.js';
import type { EvalDocument } from './task.js';

/** A question with answers to choose from. */
export interface Choice {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly question: string;
  readonly choices: readonly string[];
  /** Index of the right choice. */
  readonly gold: number;
  /** Where it was read, for messages. */
  readonly where: string;
}

/** Metrics of a multiple-choice task. */
export const choiceMetrics: Readonly<Record<string, Metric>> = { acc: mean, acc_norm: mean };

/**
 * A document whose choices are scored as continuations of the question. `acc`: the most probable
 * choice is right; `acc_norm`: the most probable per code point of the choice.
 */
export function choiceDocument({ fields, question, choices, gold, where }: Choice): EvalDocument {
  if (choices.some((choice) => choice === '')) {
    throw new LlmkitError('config', `${where}: expected choices with a text, got an empty one`);
  }
  return {
    fields,
    target: gold,
    turn: { question, answer: choices[gold] as string },
    requests: ({ context, delimiter }) =>
      choices.map((choice) => ({
        kind: 'continuation',
        context,
        continuation: delimiter + choice,
      })),
    measure(scores) {
      const logprobs = scores.map((score) => score.logprob);
      const perCodePoint = logprobs.map(
        (logprob, i) => logprob / codePointLength(choices[i] as string),
      );
      return {
        acc: firstLargest(logprobs) === gold ? 1 : 0,
        acc_norm: firstLargest(perCodePoint) === gold ? 1 : 0,
      };
    },
  };
}

function firstLargest(values: readonly number[]): number {
  return values.indexOf(Math.max(...values));
}
