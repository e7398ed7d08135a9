import { createHash } from 'node:crypto';
import { Template } from '@huggingface/jinja';
import { LlmkitError } from '../errors.js';

/** One message of a conversation. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** A model's chat template. */
export interface ChatTemplate {
  /** The Jinja source. */
  readonly source: string;
  /** sha256 of the source, hex. */
  readonly hash: string;
  /**
   * The conversation as text, special tokens written out: encode it with `specialTokens: false`.
   *
   * @throws LlmkitError `config` when the template refuses the messages
   */
  render(messages: readonly ChatMessage[], options: { addGenerationPrompt: boolean }): string;
}

/**
 * A chat template, parsed as transformers parses it (trim_blocks, lstrip_blocks; generation blocks render their content).
 *
 * @param variables what templates may name besides the messages: bos_token, eos_token, …
 * @param where the file, for messages
 */
export function parseChatTemplate(
  source: string,
  variables: Readonly<Record<string, string>>,
  where: string,
): ChatTemplate {
  const template = attempt(`${where}: the chat template is not valid`, () => new Template(source));
  return {
    source,
    hash: hashChatTemplate(source),
    render(messages, { addGenerationPrompt }) {
      const values = { ...variables, messages, add_generation_prompt: addGenerationPrompt };
      return attempt(`${where}: the chat template refuses the messages`, () =>
        template.render(values),
      );
    },
  };
}

/** `ChatTemplate.hash` of a source. */
export function hashChatTemplate(source: string): string {
  return createHash('sha256').update(source).digest('hex');
}

function attempt<T>(problem: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw new LlmkitError('config', `${problem}: ${(error as Error).message}`, { cause: error });
  }
}
