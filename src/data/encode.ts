import type { Span } from './chat.js';
import type { TextEncoder } from './encoder.js';

/** Token ids and which of them are trained. */
export interface Encoded {
  readonly ids: number[];
  readonly trained: number[];
  /** A token that reaches from a prompt into its completion, where there is one. */
  readonly straddling?: string;
}

/**
 * Encodes a text as one piece, so that its tokens are the ones the whole text has, and carries
 * the spans' marks over. A token that straddles two spans belongs to the later one.
 *
 * @param specialTokens whether the tokenizer adds its own; an EOS that it adds is dropped
 */
export function encodeSpans(
  spans: readonly Span[],
  encoder: TextEncoder,
  specialTokens: boolean,
): Encoded {
  const encode = (text: string) => encodeOpen(text, encoder, specialTokens);
  const ids = encode(spans.map((span) => span.text).join(''));
  const trained = new Array<number>(ids.length).fill(0);
  let straddling: string | undefined;
  let [text, from] = ['', 0];
  for (const [i, span] of spans.entries()) {
    text += span.text;
    let to = ids.length;
    if (i < spans.length - 1) {
      const prefix = encode(text);
      to = commonPrefix(prefix, ids);
      if (to < prefix.length) straddling ??= encoder.tokenText(ids[to] ?? 0);
    }
    if (span.trained) trained.fill(1, from, to);
    from = Math.max(from, to);
  }
  return straddling === undefined ? { ids, trained } : { ids, trained, straddling };
}

/** Encodes without an EOS behind the text that the text itself does not have. */
function encodeOpen(text: string, encoder: TextEncoder, specialTokens: boolean): number[] {
  const ids = encoder.encode(text, { specialTokens });
  const last = ids.at(-1);
  if (!specialTokens || last === undefined || !encoder.eosIds.includes(last)) return ids;
  return text.endsWith(encoder.tokenText(last)) ? ids : ids.slice(0, -1);
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

/** Ends a text with an EOS that is trained; a text that has one at its end stays as it is. */
export function withEos({ ids, trained }: Encoded, eosIds: readonly number[]): Encoded {
  const last = trained.lastIndexOf(1);
  if (last >= 0 && eosIds.includes(ids[last] ?? -1)) return { ids, trained };
  return { ids: [...ids, eosIds[0] ?? 0], trained: [...trained, 1] };
}
