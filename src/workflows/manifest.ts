import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { writeFileAtomic } from '../checkpoint/output.js';
import { LlmkitError } from '../errors.js';
import { methodNames } from '../quant/methods/index.js';
import { VERSION } from './version.js';

/** Name of the manifest in every output folder. */
export const MANIFEST_FILE = 'llmkit.json';

const quantizationSchema = z.object({
  scheme: z.string(),
  group_size: z.number().nullish(),
  double_quant: z.boolean().optional(),
  asymmetric: z.boolean().optional(),
  /** How the scales were chosen; left out: `rtn`. */
  method: z.enum(methodNames).optional(),
  skip: z.array(z.string()).optional(),
  /** Scheme of the output head, where it was given one. */
  head: z.string().nullish(),
});

/** How weights were quantized; in `config` of a folder that `llmkit quantize` wrote. */
export type QuantizationRecord = z.infer<typeof quantizationSchema>;

/** The weights an output was made from (see `checkpoint/identity.ts`). */
const baseModelSchema = z.object({
  /** As it was given: a folder or a hub id. */
  name: z.string(),
  /** Identity of the checkpoint's own weights. */
  identity: z.string(),
  /** Set when the weights computed with were quantized from those: their identity and scheme, and how. */
  quantized: z
    .object({
      identity: z.string(),
      scheme: z.string(),
      settings: quantizationSchema.optional(),
    })
    .optional(),
});

const manifestSchema = z.object({
  version: z.string(),
  command: z.string(),
  /** The resolved configuration. */
  config: z.record(z.string(), z.unknown()),
  /** sha256 of each input file, by its path as given. */
  inputs: z.record(z.string(), z.string()).optional(),
  base_model: baseModelSchema.optional(),
  /** sha256 of tokenizer.json. */
  tokenizer: z.string().optional(),
  /** sha256 of the chat template's source. */
  chat_template: z.string().optional(),
  /** How training rendered prompts: a `TemplateRecord` of `data/template.ts`. */
  template: z.unknown().optional(),
  seed: z.number().optional(),
  backend: z.string().optional(),
  /** Where it computed: `cpu` or `cuda`. */
  device: z.string().optional(),
  /** The arithmetic of the weights' products. */
  compute: z.string().optional(),
  /** Seconds by phase. */
  timings: z.record(z.string(), z.number()).optional(),
});

/** `base_model` of a manifest. */
export type BaseModel = z.infer<typeof baseModelSchema>;

/** What an output folder says about its making (design.md section 6). */
export type Manifest = z.infer<typeof manifestSchema>;

/** Writes `llmkit.json` into an output folder; the version is added. */
export async function writeManifest(
  folder: string,
  manifest: Omit<Manifest, 'version'>,
): Promise<void> {
  const text = JSON.stringify({ version: VERSION, ...manifest }, null, 2);
  await writeFileAtomic(join(folder, MANIFEST_FILE), `${text}\n`);
}

/**
 * Reads `llmkit.json` of a folder; undefined where there is none.
 *
 * @throws LlmkitError `config` when it is there and broken
 */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
  const path = join(folder, MANIFEST_FILE);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const parsed = manifestSchema.safeParse(parseJson(text, path));
  if (parsed.success) return parsed.data;
  const { path: place, message } = parsed.error.issues[0] ?? { path: [], message: '' };
  throw new LlmkitError('config', `${path}: ${place.join('.')}: ${message}`);
}

/** How the weights of a manifest's folder were quantized; undefined where another program did. */
export function quantizationOf({ command, config }: Manifest): QuantizationRecord | undefined {
  return command === 'quantize' ? quantizationSchema.safeParse(config).data : undefined;
}

function parseJson(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new LlmkitError('config', `${path}: not valid JSON: ${(error as Error).message}`);
  }
}

/** sha256 (hex) of a file's bytes, streamed. */
export async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest('hex');
}
