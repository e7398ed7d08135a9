import { LlmkitError } from '../errors.js';
import { renderChat, type Span } from './chat.js';
import type { DataRecord, Document } from './document.js';
import { type Encoded, encodeSpans, withEos } from './encode.js';
import type { TextEncoder } from './encoder.js';
import { type Example, trainedTokens } from './example.js';
import type { DataFormat } from './formats/format.js';
import { dataFormats, detectFormat, type FormatName } from './formats/index.js';
import { readRecords } from './records.js';
import {
  ALPACA_TEMPLATE,
  parseTemplate,
  renderFields,
  type TemplateRecord,
  type TextTemplate,
} from './template.js';

/** One file of a data set. */
export interface DataSource {
  readonly path: string;
  /** Left out: told by the keys of the first record. */
  readonly format?: FormatName | undefined;
  /** `chat`, `alpaca` or a text with placeholders; left out: `chat` where the tokenizer has one. */
  readonly template?: string | undefined;
}

export interface DatasetOptions {
  /** Longer examples lose the end of their completion. */
  readonly maxLength: number;
  readonly trainOn: 'completion' | 'all';
}

/** What was read, for the run's report. */
export interface DataStats {
  records: number;
  tokens: number;
  trainedTokens: number;
  longest: number;
  /** Examples cut to the maximal length. */
  truncated: number;
  /** Examples without a trained token, left out; the places of the first few. */
  skipped: number;
  readonly skippedAt: string[];
  /** Prompts that end inside a token, and the first of them. */
  straddling: number;
  firstStraddling?: string;
}

/** Every example of a data set, in the order of the files. */
export interface Dataset {
  readonly examples: readonly Example[];
  /** The template of the first file that has prompts. */
  readonly template: TemplateRecord;
  readonly stats: DataStats;
}

const SHOWN_SKIPS = 3;

/**
 * Reads, renders and encodes data files.
 *
 * @throws LlmkitError `config` naming the file and line; also when nothing is left to train on
 */
export function loadDataset(
  sources: readonly DataSource[],
  encoder: TextEncoder,
  options: DatasetOptions,
): Dataset {
  if (encoder.eosIds.length === 0) {
    throw new LlmkitError(
      'config',
      "data: expected a tokenizer with an EOS token, which ends every completion; name one in tokenizer_config.json's eos_token",
    );
  }
  const builder = new DatasetBuilder(encoder, options);
  for (const source of sources) builder.addFile(source);
  return builder.finish(sources.map((source) => source.path));
}

class DatasetBuilder {
  private readonly encoder: TextEncoder;
  private readonly options: DatasetOptions;
  private readonly examples: Example[] = [];
  private template: TemplateRecord = { kind: 'none' };
  private readonly stats: DataStats = {
    records: 0,
    tokens: 0,
    trainedTokens: 0,
    longest: 0,
    truncated: 0,
    skipped: 0,
    skippedAt: [],
    straddling: 0,
  };

  constructor(encoder: TextEncoder, options: DatasetOptions) {
    this.encoder = encoder;
    this.options = options;
  }

  addFile(source: DataSource): void {
    const renderer = new Renderer(source, this.encoder, this.options.trainOn);
    let format: DataFormat | undefined = source.format && dataFormats[source.format];
    for (const record of readRecords(source.path)) {
      format ??= detectFormat(record, renderer.text !== undefined && source.template !== undefined);
      const document = format.parse(record);
      if (document.kind !== 'text' && this.template.kind === 'none') {
        this.template = renderer.recordOf(document);
      }
      this.add(renderer.encode(document, record), record);
    }
  }

  private add(encoded: Encoded, { where }: DataRecord): void {
    const index = this.stats.records++;
    if (encoded.straddling !== undefined) {
      this.stats.straddling++;
      this.stats.firstStraddling ??= `${where}: token ${JSON.stringify(encoded.straddling)}`;
    }
    const all = this.options.trainOn === 'all';
    const length = all ? encoded.ids.length : encoded.trained.lastIndexOf(1) + 1;
    const kept = Math.min(length, this.options.maxLength);
    const trained = Uint8Array.from(encoded.trained.slice(0, kept));
    const example: Example = {
      ids: Int32Array.from(encoded.ids.slice(0, kept)),
      trained: all ? trained.fill(1) : trained,
      index,
      where,
    };
    if (kept < length) this.stats.truncated++;
    this.keep(example);
  }

  private keep(example: Example): void {
    const trained = trainedTokens(example);
    if (trained === 0) {
      this.stats.skipped++;
      if (this.stats.skippedAt.length < SHOWN_SKIPS) this.stats.skippedAt.push(example.where);
      return;
    }
    this.examples.push(example);
    this.stats.tokens += example.ids.length;
    this.stats.trainedTokens += trained;
    this.stats.longest = Math.max(this.stats.longest, example.ids.length);
  }

  finish(paths: readonly string[]): Dataset {
    if (this.examples.length > 0) {
      return { examples: this.examples, template: this.template, stats: this.stats };
    }
    const why =
      this.stats.records === 0
        ? 'there are no records'
        : `each of the ${this.stats.records} prompts fills max_length (${this.options.maxLength}) alone; raise it`;
    throw new LlmkitError(
      'config',
      `data: expected examples to train on in ${paths.join(', ')}, but ${why}`,
    );
  }
}

/** Renders and encodes the documents of one file by its template. */
class Renderer {
  /** The text template, where one is used. */
  readonly text: TextTemplate | undefined;
  private readonly source: DataSource;
  private readonly encoder: TextEncoder;
  private readonly trainOn: DatasetOptions['trainOn'];
  private readonly eosTexts: readonly string[];

  constructor(source: DataSource, encoder: TextEncoder, trainOn: DatasetOptions['trainOn']) {
    this.source = source;
    this.trainOn = trainOn;
    this.encoder = encoder;
    this.eosTexts = encoder.eosIds.map((id) => encoder.tokenText(id));
    this.text = textTemplate(source, encoder);
  }

  recordOf(document: Document): TemplateRecord {
    const chat = this.encoder.chatTemplate;
    if (document.kind === 'prompt' && this.text) return { kind: 'text', text: this.text.text };
    if (!chat) return { kind: 'none' };
    return { kind: 'chat', source: chat.source, hash: chat.hash };
  }

  encode(document: Document, record: DataRecord): Encoded {
    if (document.kind === 'text') {
      const spans = [{ text: document.text, trained: true }];
      return withEos(encodeSpans(spans, this.encoder, true), this.encoder.eosIds);
    }
    if (document.kind === 'prompt' && this.text) {
      return this.encodeText(document.fields, record, this.text);
    }
    return this.encodeChat(document, record);
  }

  private encodeText(
    fields: Readonly<Record<string, string>>,
    record: DataRecord,
    template: TextTemplate,
  ): Encoded {
    const { prompt, completion } = renderFields(template, fields, record.where);
    const spans: Span[] = [
      { text: prompt, trained: false },
      { text: completion, trained: true },
    ];
    const filled = spans.filter((span) => span.text !== '');
    const encoded = encodeSpans(filled, this.encoder, true);
    return { ...encoded, ...withEos(encoded, this.encoder.eosIds) };
  }

  private encodeChat(
    document: Exclude<Document, { kind: 'text' }>,
    { where }: DataRecord,
  ): Encoded {
    const chat = this.encoder.chatTemplate;
    if (!chat || document.messages.length === 0 || this.source.template?.includes('{')) {
      throw new LlmkitError('config', `${where}: ${this.whyNoChat(document)}`);
    }
    const spans = renderChat(document.messages, { chat, eosTexts: this.eosTexts, where });
    // Nothing depends on what follows the last trained token.
    const needed = spans.slice(0, spans.findLastIndex((span) => span.trained) + 1);
    const encoded = encodeSpans(this.trainOn === 'all' ? spans : needed, this.encoder, false);
    const endsWithAssistant = document.messages.at(-1)?.role === 'assistant';
    return endsWithAssistant ? { ...encoded, ...withEos(encoded, this.encoder.eosIds) } : encoded;
  }

  private whyNoChat(document: Exclude<Document, { kind: 'text' }>): string {
    if (document.messages.length === 0) {
      return 'expected a text template that names the fields, got `template: chat`';
    }
    if (this.encoder.chatTemplate) {
      return 'messages are rendered by the chat template; leave `template` out';
    }
    return 'messages need a chat template, and the tokenizer has none; add chat_template.jinja to the model, or write the data as prompt and completion';
  }
}

/** @throws LlmkitError `config` when `template: chat` has no chat template to use */
function textTemplate({ path, template }: DataSource, encoder: TextEncoder) {
  if (template === 'chat' && !encoder.chatTemplate) {
    throw new LlmkitError(
      'config',
      `data: ${path} wants the tokenizer's chat template, and it has none; use \`template: alpaca\` or a text with {output}`,
    );
  }
  if (template === 'chat' || (template === undefined && encoder.chatTemplate)) return undefined;
  const text = template === undefined || template === 'alpaca' ? ALPACA_TEMPLATE : template;
  return parseTemplate(text);
}
