import { LlmkitError } from '../../errors.js';
import type { Message } from '../encoder.js';
import type { DataFormat } from './format.js';

/** `{"messages": [{"role": …, "content": …}, …]}`: a conversation. */
export const messages: DataFormat = {
  keys: 'messages',
  matches: (value) => 'messages' in value,
  parse({ value, where }) {
    const list = value.messages;
    if (!Array.isArray(list) || list.length === 0 || !list.every(isMessage)) {
      throw new LlmkitError(
        'config',
        `${where}: expected "messages" to be a list of {"role": text, "content": text}, got ${JSON.stringify(list).slice(0, 80)}`,
      );
    }
    if (!list.some((message) => message.role === 'assistant')) {
      throw new LlmkitError(
        'config',
        `${where}: expected a turn of "assistant" among the messages, got ${list.map((m) => m.role).join(', ')}`,
      );
    }
    return { kind: 'chat', messages: list };
  },
};

function isMessage(value: unknown): value is Message {
  const message = value as Partial<Message> | null;
  return typeof message?.role === 'string' && typeof message.content === 'string';
}
