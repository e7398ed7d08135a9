import type { ChatTemplate } from '../tokenizer/tokenizer.js';
import type { EvalDocument, Prompt } from './task.js';

const FEW_SHOT_DELIMITER = '\n\n';
const TARGET_DELIMITER = ' ';

/** The solved examples and the question, as plain text or as turns of a conversation. */
export function buildPrompt(
  document: EvalDocument,
  shots: readonly EvalDocument[],
  chat?: ChatTemplate,
): Prompt {
  const question = document.turn?.question ?? '';
  const solved = shots.flatMap(({ turn }) => (turn ? [turn] : []));
  if (chat) {
    const messages = solved.flatMap((turn) => [
      { role: 'user', content: turn.question },
      { role: 'assistant', content: turn.answer },
    ]);
    messages.push({ role: 'user', content: question });
    return { context: chat.render(messages, { addGenerationPrompt: true }), delimiter: '' };
  }
  const examples = solved.map(
    (turn) => turn.question + TARGET_DELIMITER + turn.answer + FEW_SHOT_DELIMITER,
  );
  return { context: examples.join('') + question, delimiter: TARGET_DELIMITER };
}
