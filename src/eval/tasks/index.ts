import type { Task } from '../task.js';
import { classification } from './classification.js';
import { hellaswag } from './hellaswag.js';
import { multipleChoice } from './multiple-choice.js';
import { perplexity } from './perplexity.js';

/** The tasks, by the name users type. The only place a task is listed. */
export const tasks: Readonly<Record<string, Task>> = {
  hellaswag,
  perplexity,
  multiple_choice: multipleChoice,
  classification,
};
