import type { Message } from './encoder.js';

/** One line of a data set, in one of three shapes; every format turns its records into these. */
export type Document =
  /** Trained whole. */
  | { readonly kind: 'text'; readonly text: string }
  /** A conversation: the assistant's turns are trained. */
  | { readonly kind: 'chat'; readonly messages: readonly Message[] }
  /** Named fields for a text template, and the same as a conversation for a chat template. */
  | {
      readonly kind: 'prompt';
      readonly fields: Readonly<Record<string, string>>;
      readonly messages: readonly Message[];
    };

/** A record of a file and its place in it, `file:line`, for messages. */
export interface DataRecord {
  readonly value: Readonly<Record<string, unknown>>;
  readonly where: string;
}
