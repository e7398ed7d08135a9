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
  render(messages: readonly ChatMessage[], options: { addGenerationPrompt: boolean }): string;
}
