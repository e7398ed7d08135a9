import { type DataFormat, textOf } from './format.js';

/** `{"prompt": …, "completion": …}`. */
export const promptCompletion: DataFormat = {
  keys: 'prompt, completion',
  matches: (value) => 'prompt' in value && 'completion' in value,
  parse(record) {
    const prompt = textOf(record, 'prompt');
    const completion = textOf(record, 'completion');
    return {
      kind: 'prompt',
      fields: { prompt, completion, instruction: prompt, output: completion },
      messages: [
        { role: 'user', content: prompt },
        { role: 'assistant', content: completion },
      ],
    };
  },
};
