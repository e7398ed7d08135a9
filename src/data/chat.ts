import { LlmkitError } from '../errors.js';
import type { ChatRenderer, Message } from './encoder.js';

/** A stretch of a rendered text, and whether its tokens are trained. */
export interface Span {
  readonly text: string;
  readonly trained: boolean;
}

/**
 * Renders a conversation and marks what the assistant says in it. A turn is trained from where
 * the generation prompt ends to its EOS or, if the template writes none, to the end of the turn.
 *
 * @param eosTexts how the tokenizer writes its EOS tokens
 * @throws LlmkitError `config` when the template does not render turn by turn
 */
export function renderChat(
  messages: readonly Message[],
  options: { chat: ChatRenderer; eosTexts: readonly string[]; where: string },
): Span[] {
  const { chat, where } = options;
  const text = render(messages, chat, where);
  const turns = messages.flatMap((message, i) => (message.role === 'assistant' ? [i] : []));
  const spans: Span[] = [];
  let end = 0;
  for (const turn of turns) {
    const [from, to] = turnRange(messages, turn, { ...options, text });
    spans.push({ text: text.slice(end, from), trained: false });
    spans.push({ text: text.slice(from, to), trained: true });
    end = to;
  }
  spans.push({ text: text.slice(end), trained: false });
  return spans.filter((span) => span.text !== '');
}

function render(
  messages: readonly Message[],
  chat: ChatRenderer,
  where: string,
  addGenerationPrompt = false,
): string {
  try {
    return chat.render(messages, { addGenerationPrompt });
  } catch (error) {
    throw new LlmkitError('config', `${where}: ${(error as Error).message}`);
  }
}

interface TurnOptions {
  readonly chat: ChatRenderer;
  readonly eosTexts: readonly string[];
  readonly where: string;
  readonly text: string;
}

/** Where the trained part of one assistant turn lies in the whole text. */
function turnRange(
  messages: readonly Message[],
  turn: number,
  { chat, eosTexts, where, text }: TurnOptions,
): [number, number] {
  const before = messages.slice(0, turn);
  // Some templates refuse an empty conversation: then the turn has no generation prompt to end.
  const asked = turn === 0 ? '' : render(before, chat, where, true);
  const history = turn === 0 ? '' : render(before, chat, where);
  const start = commonPrefix(asked, text);
  const content = (messages[turn]?.content ?? '').trim();
  const at = text.indexOf(content, start);
  if (start < history.length || at < 0) {
    throw new LlmkitError(
      'config',
      `${where}: the chat template renders turn ${turn + 1} differently alone and in the whole conversation, so what to train is not clear; give a text \`template\``,
    );
  }
  const contentEnd = at + content.length;
  const whole = render(messages.slice(0, turn + 1), chat, where);
  const wholeIsPrefix = text.startsWith(whole);
  const tail = text.slice(contentEnd, wholeIsPrefix ? whole.length : undefined);
  const eosEnd = firstEosEnd(tail, eosTexts);
  const from = turn === 0 ? at : start;
  if (eosEnd !== undefined) return [from, contentEnd + eosEnd];
  return [from, wholeIsPrefix ? whole.length : contentEnd];
}

function firstEosEnd(tail: string, eosTexts: readonly string[]): number | undefined {
  const ends = eosTexts.flatMap((eos) => {
    const at = eos === '' ? -1 : tail.indexOf(eos);
    return at < 0 ? [] : [at + eos.length];
  });
  return ends.length === 0 ? undefined : Math.min(...ends);
}

function commonPrefix(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}
