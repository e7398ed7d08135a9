import { LlmkitError } from '../errors.js';

/**
 * How prompts were rendered for training. `lora-train` writes it as `template` into the adapter's
 * `llmkit.json`; `generate --chat` renders with it again (`renderPrompt` for `text`).
 */
export type TemplateRecord =
  /** The tokenizer's chat template; its rendering holds the BOS already. */
  | { readonly kind: 'chat'; readonly source: string; readonly hash: string }
  /** A text template; the tokenizer adds its special tokens. */
  | { readonly kind: 'text'; readonly text: string }
  /** Plain text: no prompt was rendered. */
  | { readonly kind: 'none' };

/** The blocks of Stanford Alpaca, for tokenizers without a chat template. */
export const ALPACA_TEMPLATE =
  '[[{system}\n\n]]### Instruction:\n{instruction}\n\n[[### Input:\n{input}\n\n]]### Response:\n{output}';

/** Names that mark where the completion begins. */
const COMPLETION_NAMES = ['output', 'completion'];
/** Names a prompt may have beside the user's text; empty where only a user's text is given. */
const OPTIONAL_NAMES = ['input', 'system'];

type Piece =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'field'; readonly name: string }
  | { readonly kind: 'optional'; readonly pieces: readonly Piece[] };

/**
 * A text with `{name}` placeholders. `{output}` or `{completion}`, else the last placeholder, is
 * where the completion begins. `[[ … ]]` is left out where a placeholder inside it is empty.
 * Braces around anything but a name are plain text.
 */
export interface TextTemplate {
  readonly text: string;
  /** The placeholder that the completion begins with. */
  readonly completion: string;
  /** Every placeholder, and whether it stands inside `[[ ]]`. */
  readonly fields: ReadonlyMap<string, { readonly optional: boolean }>;
  readonly prompt: readonly Piece[];
  readonly answer: readonly Piece[];
}

/**
 * Reads a template.
 *
 * @throws LlmkitError `config` when it has no placeholder, the completion's is not there exactly
 *   once, or it stands inside `[[ ]]`
 */
export function parseTemplate(text: string): TextTemplate {
  const pieces = parsePieces(text);
  const names = pieces.flatMap((piece) => (piece.kind === 'field' ? [piece.name] : []));
  const marks = names.filter((name) => COMPLETION_NAMES.includes(name));
  const fields = fieldsOf(pieces);
  const marksInside = COMPLETION_NAMES.some((name) => fields.get(name)?.optional);
  if (names.length === 0 || marks.length > 1 || marksInside) {
    throw new LlmkitError(
      'config',
      `template: expected one {output} where the completion begins, got ${JSON.stringify(text)}`,
    );
  }
  const completion = marks[0] ?? (names.at(-1) as string);
  const at = pieces.findLastIndex((piece) => piece.kind === 'field' && piece.name === completion);
  return {
    text,
    completion,
    fields,
    prompt: pieces.slice(0, at),
    answer: pieces.slice(at),
  };
}

function parsePieces(text: string): Piece[] {
  const pieces: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(/\[\[([\s\S]*?)\]\]|\{([A-Za-z_]\w*)\}/g)) {
    if (match.index > end) pieces.push({ kind: 'text', text: text.slice(end, match.index) });
    end = match.index + match[0].length;
    if (match[2] !== undefined) pieces.push({ kind: 'field', name: match[2] });
    else pieces.push({ kind: 'optional', pieces: parsePieces(match[1] ?? '') });
  }
  if (end < text.length) pieces.push({ kind: 'text', text: text.slice(end) });
  return pieces;
}

function fieldsOf(pieces: readonly Piece[], optional = false): Map<string, { optional: boolean }> {
  const fields = new Map<string, { optional: boolean }>();
  for (const piece of pieces) {
    const inner =
      piece.kind === 'optional'
        ? fieldsOf(piece.pieces, true)
        : new Map(piece.kind === 'field' ? [[piece.name, { optional }]] : []);
    for (const [name, field] of inner) {
      fields.set(name, { optional: field.optional && (fields.get(name)?.optional ?? true) });
    }
  }
  return fields;
}

/** The prompt and the completion of a record. @throws LlmkitError `config` naming a missing field */
export function renderFields(
  template: TextTemplate,
  fields: Readonly<Record<string, string>>,
  where: string,
): { prompt: string; completion: string } {
  for (const [name, { optional }] of template.fields) {
    if (optional || OPTIONAL_NAMES.includes(name) || fields[name] !== undefined) continue;
    const known = Object.keys(fields).join(', ');
    throw new LlmkitError(
      'config',
      `${where}: the template has {${name}}, the record has ${known || 'no text fields'}; name one of these in \`template\``,
    );
  }
  return {
    prompt: renderPieces(template.prompt, fields),
    completion: renderPieces(template.answer, fields),
  };
}

function renderPieces(pieces: readonly Piece[], fields: Readonly<Record<string, string>>): string {
  return pieces
    .map((piece) => {
      if (piece.kind === 'text') return piece.text;
      if (piece.kind === 'field') return fields[piece.name] ?? '';
      const names = [...fieldsOf(piece.pieces).keys()];
      return names.every((name) => fields[name]) ? renderPieces(piece.pieces, fields) : '';
    })
    .join('');
}

/**
 * A prompt of one user's text, as training rendered it: what stands before the completion.
 *
 * @param text a template's text (`TemplateRecord` of kind `text`)
 * @throws LlmkitError `usage` when the template wants more fields than a user's text can fill
 */
export function renderPrompt(text: string, user: string, system?: string): string {
  const template = parseTemplate(text);
  const wanted = [...fieldsOf(template.prompt)]
    .filter(([name, { optional }]) => !optional && !OPTIONAL_NAMES.includes(name))
    .map(([name]) => name);
  if (wanted.length !== 1) {
    throw new LlmkitError(
      'usage',
      `--chat: the adapter's template wants ${wanted.join(', ') || 'no field'} where one user's text is given; write the whole prompt with --prompt without --chat`,
    );
  }
  const fields: Record<string, string> = { [wanted[0] as string]: user };
  if (system !== undefined) fields.system = system;
  return renderPieces(template.prompt, fields);
}
