import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type ChatMessage, parseChatTemplate } from '../../../src/tokenizer/chat-template.js';

interface Case {
  readonly name: string;
  readonly template: string;
  readonly messages: ChatMessage[];
  readonly addGenerationPrompt: boolean;
  readonly text?: string;
  readonly error?: string;
}

const cases: Case[] = JSON.parse(readFileSync('fixtures/tokenizers/chat-templates.json', 'utf8'));
const tokens = { bos_token: '<s>', eos_token: '</s>' };

test.each(cases)('renders as transformers does: $name', (entry) => {
  const { template, messages, addGenerationPrompt, text, error } = entry;
  const render = () =>
    parseChatTemplate(template, tokens, 'x.jinja').render(messages, { addGenerationPrompt });
  if (error === undefined) expect(render()).toBe(text);
  else expect(render).toThrow(`x.jinja: the chat template refuses the messages: ${error}`);
});

test('names the file of a template that cannot be parsed, and its hash is of the source', () => {
  expect(() => parseChatTemplate('{% if %}', {}, 'x.jinja')).toThrow(/x\.jinja: .* not valid/);
  const [a, b] = ['a', 'b'].map((source) => parseChatTemplate(source, {}, 'x').hash);
  expect(a).toBe('ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb');
  expect(b).not.toBe(a);
});
