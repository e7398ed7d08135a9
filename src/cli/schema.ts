import * as z from 'zod';
import { DEVICE_CHOICES } from '../tensor/backends/device-choice.js';
import { COMPUTE_CHOICES } from '../tensor/compute.js';
import type { Flag } from './command.js';

/** The global keys and their checks; a command's shape may replace one (another default seed). */
export const globalShape = {
  backend: z.enum(['native', 'reference', 'tensorflow']).optional(),
  device: z.enum(DEVICE_CHOICES).default('auto'),
  threads: z.int().min(1).max(1024).optional(),
  compute: z.enum(COMPUTE_CHOICES).default('auto'),
  seed: z.int().min(0).default(0),
};

/** Flags of the global keys. */
export const globalFlags: Readonly<Record<keyof typeof globalShape, Flag>> = {
  backend: { value: 'NAME', description: 'what computes; left out: the best that loads' },
  device: {
    value: 'NAME',
    description: 'where it computes; auto: on a GPU where one can be used',
  },
  threads: { value: 'N', description: 'CPU threads; left out: the cores at hand' },
  compute: { value: 'TYPE', description: 'arithmetic of the model' },
  seed: { value: 'N', description: 'seed of everything random' },
};

/** `max_new_tokens` → `--max-new-tokens`. */
export function flagName(key: string): string {
  return `--${key.replaceAll('_', '-')}`;
}

/** A schema seen through its defaults, optionals, nullables and preprocessing. */
export function innermost(schema: z.ZodType): z.ZodType {
  let current = schema;
  for (;;) {
    if (
      current instanceof z.ZodDefault ||
      current instanceof z.ZodPrefault ||
      current instanceof z.ZodOptional ||
      current instanceof z.ZodNullable
    ) {
      current = current.def.innerType as z.ZodType;
    } else if (current instanceof z.ZodPipe) current = current.def.out as z.ZodType;
    else return current;
  }
}

/** The default a schema fills in; undefined without one. */
export function defaultOf(schema: z.ZodType): unknown {
  return schema instanceof z.ZodDefault ? schema.def.defaultValue : undefined;
}

/** The values a schema allows, where it lists them. */
export function choicesOf(schema: z.ZodType): readonly (string | number)[] | undefined {
  const inner = innermost(schema);
  if (inner instanceof z.ZodEnum) return inner.options;
  if (inner instanceof z.ZodLiteral) return [...inner.values] as (string | number)[];
  if (inner instanceof z.ZodArray) return choicesOf(inner.element as z.ZodType);
  return undefined;
}

/** True when the flag may be given several times and collects its values. */
export function collects(schema: z.ZodType): boolean {
  const inner = innermost(schema);
  return inner instanceof z.ZodArray || inner instanceof z.ZodRecord;
}

/**
 * A flag's text as its schema wants it. Text that does not fit stays text: the schema then says
 * what it expected.
 */
export function readFlagValue(schema: z.ZodType, given: unknown, flag: Flag): unknown {
  const inner = innermost(schema);
  if (Array.isArray(given)) {
    if (inner instanceof z.ZodRecord) return readRecord(given as string[]);
    const texts = given as string[];
    const parts = flag.repeat ? texts : texts.flatMap((text) => text.split(','));
    const element = (inner as z.ZodArray).element as z.ZodType;
    return parts.map((part) => readScalar(element, flag.repeat ? part : part.trim()));
  }
  return typeof given === 'string' ? readScalar(schema, given) : given;
}

/** `NAME=VALUE` texts as an object; a text without `=` becomes a name with no value. */
function readRecord(texts: readonly string[]): Record<string, string | undefined> {
  const pairs = texts.map((text) => {
    const cut = text.indexOf('=');
    return cut > 0
      ? ([text.slice(0, cut), text.slice(cut + 1)] as const)
      : ([text, undefined] as const);
  });
  return Object.fromEntries(pairs);
}

function readScalar(schema: z.ZodType, text: string): unknown {
  const inner = innermost(schema);
  if (inner instanceof z.ZodBoolean) return { true: true, false: false }[text] ?? text;
  const number = text.trim() === '' ? Number.NaN : Number(text);
  return wantsNumber(inner) && !Number.isNaN(number) ? number : text;
}

function wantsNumber(schema: z.ZodType): boolean {
  const inner = innermost(schema);
  if (inner instanceof z.ZodUnion) return inner.options.some((o) => wantsNumber(o as z.ZodType));
  if (inner instanceof z.ZodLiteral) return [...inner.values].some((v) => typeof v === 'number');
  return inner instanceof z.ZodNumber;
}
