/** Turns ids into text one at a time; what it returns, joined, is decode() of all ids. */
export interface StreamDecoder {
  /** The text that this id completes: empty while a character is unfinished. */
  push(id: number): string;
  /** What is left at the end. */
  flush(): string;
}

/** What a stream needs of its tokenizer. */
export interface StreamSource {
  decode(ids: readonly number[]): string;
  /** Whether the text of this id may still change with the next one (byte tokens). */
  isOpen(id: number): boolean;
  /** Whether decode leaves this id out. */
  isSkipped(id: number): boolean;
}

/**
 * A decoder that re-decodes a short window: the ids that made the last text, and those since. Text depends on its
 * neighbours (the first space of a text is dropped, bytes make characters), so the window begins with ids whose
 * text is out already and that text is cut off.
 */
export function createStreamDecoder({ decode, isOpen, isSkipped }: StreamSource): StreamDecoder {
  let shown: number[] = []; // their text has been returned
  let shownText = '';
  let pending: number[] = [];

  const emit = (text: string): string => {
    const fresh = text.slice(shownText.length);
    if (fresh === '') return '';
    shown = pending;
    shownText = decode(shown);
    pending = [];
    return fresh;
  };

  return {
    push(id) {
      if (isSkipped(id)) return '';
      pending.push(id);
      if (isOpen(id)) return '';
      const text = decode([...shown, ...pending]);
      return text.endsWith('\ufffd') ? '' : emit(text);
    },
    flush() {
      return pending.length === 0 ? '' : emit(decode([...shown, ...pending]));
    },
  };
}
