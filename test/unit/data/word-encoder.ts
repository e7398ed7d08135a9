import type { ChatRenderer, TextEncoder } from '../../../src/data/encoder.js';

/** A tokenizer whose tokens are words with the space before them, `</s>` and `<s>`. */
export function wordEncoder(chatTemplate?: ChatRenderer): TextEncoder & { texts: string[] } {
  const texts = ['<s>', '</s>'];
  const idOf = (text: string) => {
    if (!texts.includes(text)) texts.push(text);
    return texts.indexOf(text);
  };
  return {
    texts,
    eosIds: [1],
    ...(chatTemplate && { chatTemplate }),
    encode(text, { specialTokens = true } = {}) {
      const words = text.match(/<\/?s>|\n| ?[^\s<]+|\s|</g) ?? [];
      return [...(specialTokens ? [0] : []), ...words.map(idOf)];
    },
    tokenText: (id) => texts[id] ?? '',
  };
}

/** Turns as `<s>role: content</s>\n`. */
export const turns: ChatRenderer = {
  source: 'turns',
  hash: 'turns',
  render: (messages, { addGenerationPrompt }) =>
    `<s>${messages
      .map(({ role, content }) =>
        role === 'assistant' ? `assistant:\n${content}</s>\n` : `${role}:\n${content}\n`,
      )
      .join('')}${addGenerationPrompt ? 'assistant:\n' : ''}`,
};
