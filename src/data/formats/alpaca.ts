import { type DataFormat, optionalTextOf, textOf } from './format.js';

/** `{"instruction": …, "input": …, "output": …}`; `input` and `system` may be left out. */
export const alpaca: DataFormat = {
  keys: 'instruction, output (input, system)',
  matches: (value) => 'instruction' in value && 'output' in value,
  parse(record) {
    const [instruction, output] = [textOf(record, 'instruction'), textOf(record, 'output')];
    const [input, system] = [optionalTextOf(record, 'input'), optionalTextOf(record, 'system')];
    const prompt = input === '' ? instruction : `${instruction}\n${input}`;
    return {
      kind: 'prompt',
      fields: { instruction, input, output, system, prompt, completion: output },
      messages: [
        ...(system === '' ? [] : [{ role: 'system', content: system }]),
        { role: 'user', content: prompt },
        { role: 'assistant', content: output },
      ],
    };
  },
};
