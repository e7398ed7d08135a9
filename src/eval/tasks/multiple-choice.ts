import { choiceDocument, choiceMetrics } from '../choice.js';
import { Fields, readRows } from '../rows.js';
import type { Task } from '../task.js';
import { renderTemplate } from '../template.js';

/** Any multiple-choice questions from a file of {question, choices, label}. */
export const multipleChoice: Task = {
  version: 1,
  summary: 'Questions of a file of {question, choices[], label}',
  metrics: choiceMetrics,
  async documents(path, { options }) {
    const template = options.promptTemplate ?? '{question}';
    return (await readRows(path)).map((record) => {
      const row = new Fields(record, '{question, choices[], label}');
      row.text('question');
      const choices = row.texts('choices');
      return choiceDocument({
        fields: record.value,
        question: renderTemplate(template, record),
        choices,
        gold: row.index('label', choices),
        where: record.where,
      });
    });
  },
};
