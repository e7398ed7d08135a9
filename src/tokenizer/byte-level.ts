import type { LibraryPreTokenizer } from './library.js';

/** GPT-2's split. JavaScript's \s counts the byte order mark as white space and U+0085 not: the original is the other way round. */
const SPLIT =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Makes the byte-level split treat white space as the Rust library does. */
export function fixByteLevel(step: LibraryPreTokenizer | null): void {
  step?.tokenizers?.forEach(fixByteLevel);
  if (step?.config?.type === 'ByteLevel') step.pattern = SPLIT;
}
