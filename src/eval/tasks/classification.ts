import type { DataRecord } from '../../data/document.js';
import { LlmkitError } from '../../errors.js';
import { choiceDocument } from '../choice.js';
import { mean } from '../metrics.js';
import { Fields, readRows } from '../rows.js';
import type { Task } from '../task.js';
import { renderTemplate } from '../template.js';

/** Texts to be labelled: the most probable label after the prompt is the model's answer. */
export const classification: Task = {
  version: 1,
  summary: 'Labels of the texts of a file of {text, label}',
  metrics: { acc: mean },
  async documents(path, { options }) {
    const template = options.promptTemplate ?? '{text}';
    const records = await readRows(path);
    const labels = options.labels ?? labelsOf(records);
    return records.map((record) => {
      const row = new Fields(record, '{text, label}');
      const document = choiceDocument({
        fields: record.value,
        question: renderTemplate(template, record),
        choices: labels,
        gold: row.label('label', labels),
        where: record.where,
      });
      return {
        ...document,
        measure: (scores) => ({ acc: document.measure(scores).acc as number }),
      };
    });
  },
};

/** The labels of a file that names them, in alphabetical order. */
function labelsOf(records: readonly DataRecord[]): readonly string[] {
  const labels = records.map((record) => {
    const label = new Fields(record, '{text, label}').value('label');
    if (typeof label === 'string' && !/^\d+$/.test(label)) return label;
    throw new LlmkitError(
      'usage',
      `${record.where}: label: expected a name, got ${JSON.stringify(label)}; say what the numbers mean with --labels a,b,c (0 is the first)`,
    );
  });
  return [...new Set(labels)].sort();
}
