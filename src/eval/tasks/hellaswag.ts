import { choiceDocument, choiceMetrics } from '../choice.js';
import { capitalize, strip } from '../python-text.js';
import { Fields, readRows } from '../rows.js';
import type { Task } from '../task.js';

/**
 * HellaSwag: which of four endings goes on.
 *
 * @see https://arxiv.org/abs/1905.07830
 */
export const hellaswag: Task = {
  version: 1,
  summary: 'HellaSwag: which of four endings goes on',
  hub: {
    repo: 'Rowan/hellaswag',
    evaluated: 'data/validation-00000-of-00001.parquet',
    fewShot: 'data/train-00000-of-00001.parquet',
  },
  metrics: choiceMetrics,
  async documents(path) {
    return (await readRows(path)).map((record) => {
      const row = new Fields(record, '{activity_label, ctx_a, ctx_b, endings[], label}');
      const context = `${row.text('ctx_a')} ${capitalize(row.text('ctx_b'))}`;
      const query = preprocess(`${row.text('activity_label')}: ${context}`);
      const choices = row.texts('endings').map(preprocess);
      const gold = row.index('label', choices);
      const fields = { ...record.value, query, choices, gold };
      return choiceDocument({ fields, question: query, choices, gold, where: record.where });
    });
  },
};

/** Removes what WikiHow's markup left in the texts. */
function preprocess(text: string): string {
  return strip(text)
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\n]*?\]/g, '')
    .replaceAll('  ', ' ');
}
