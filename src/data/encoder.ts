/** One turn of a conversation. */
export interface Message {
  readonly role: string;
  readonly content: string;
}

/** What the data code needs of a chat template. `tokenizer/` has it. */
export interface ChatRenderer {
  readonly source: string;
  readonly hash: string;
  render(messages: readonly Message[], options: { addGenerationPrompt: boolean }): string;
}

/** What the data code needs of a tokenizer. `tokenizer/` has it. */
export interface TextEncoder {
  /** @param options.specialTokens whether the tokenizer adds its own (BOS); true by default */
  encode(text: string, options?: { specialTokens?: boolean }): number[];
  tokenText(id: number): string;
  /** The tokens that end a text; the first is the one training appends. */
  readonly eosIds: readonly number[];
  readonly chatTemplate?: ChatRenderer | undefined;
}
