import * as z from 'zod';
import { didYouMean } from '../suggest.js';
import { innermost } from './schema.js';

/** One thing wrong with a configuration: where, and a message that follows the place's name. */
export interface Problem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

type Issue = z.core.$ZodIssue;

/** Says a schema's complaints in words. @param error of a parse with `reportInput` */
export function problemsOf(error: z.ZodError, schema: z.ZodType): Problem[] {
  return error.issues.flatMap((issue) => describe(issue, schema));
}

function describe(issue: Issue, schema: z.ZodType): Problem[] {
  const got = issue.input;
  switch (issue.code) {
    case 'unrecognized_keys':
      return unknownKeys(issue.path, issue.keys, schema);
    case 'invalid_union':
      return union(issue, schema);
    default: {
      if (got === undefined && issue.code !== 'custom')
        return [{ path: issue.path, message: 'is missing' }];
      return [{ path: issue.path, message: `${expectation(issue)}${hint(issue, got)}` }];
    }
  }
}

/** ` , got X`, and for a misspelt choice what was probably meant. */
function hint(issue: Issue, got: unknown): string {
  if (issue.code === 'custom') return '';
  const shown = `, got ${show(got)}`;
  if (issue.code !== 'invalid_value' || typeof got !== 'string') return shown;
  return shown + didYouMean(got, issue.values.map(String));
}

/** `must be …`. */
function expectation(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${TYPE_WORDS[issue.expected] ?? issue.expected}`;
    case 'too_small':
      return bound(issue.origin, issue.inclusive ? 'at least' : 'more than', issue.minimum);
    case 'too_big':
      return bound(issue.origin, issue.inclusive ? 'at most' : 'less than', issue.maximum);
    case 'invalid_value':
      return `must be ${orList(issue.values.map(String))}`;
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`;
    default:
      return issue.message;
  }
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  number: 'a number',
  int: 'a whole number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
};

function bound(origin: string, words: string, limit: number | bigint): string {
  if (origin === 'string' && words === 'at least' && limit === 1) return 'must not be empty';
  if (origin === 'string') return `must have ${words} ${limit} characters`;
  if (origin === 'array') return `must have ${words} ${limit} entries`;
  return `must be ${words} ${limit}`;
}

/** A value that fits none of several forms: the form it nearly is, else all forms' names. */
function union(issue: Extract<Issue, { code: 'invalid_union' }>, schema: z.ZodType): Problem[] {
  const nearly = issue.errors.find((issues) => issues.some((one) => !isOtherType(one)));
  if (nearly) {
    return nearly.flatMap((one) =>
      describe({ ...one, path: [...issue.path, ...one.path] }, schema),
    );
  }
  const forms = issue.errors.flatMap((issues) =>
    issues.map((one) => expectation(one).slice('must be '.length)),
  );
  return [
    {
      path: issue.path,
      message: `must be ${orList([...new Set(forms)])}, got ${show(issue.input)}`,
    },
  ];
}

function isOtherType(issue: Issue): boolean {
  return (
    issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value')
  );
}

function unknownKeys(
  path: readonly PropertyKey[],
  keys: readonly string[],
  schema: z.ZodType,
): Problem[] {
  const known = Object.keys(shapeAt(schema, path));
  return keys.map((key) => ({
    path: [...path, key],
    message: `is not a known key${didYouMean(key, known)}`,
  }));
}

/** The keys a schema knows at a path; none where it is not an object. */
function shapeAt(schema: z.ZodType, path: readonly PropertyKey[]): Record<string, unknown> {
  let current = innermost(schema);
  for (const key of path) {
    if (current instanceof z.ZodObject)
      current = innermost(current.shape[String(key)] as z.ZodType);
    else if (current instanceof z.ZodArray) current = innermost(current.element as z.ZodType);
    if (current instanceof z.ZodUnion) {
      const options = current.options as readonly z.ZodType[];
      current =
        options.map(innermost).find((o) => o instanceof z.ZodObject || o instanceof z.ZodArray) ??
        current;
    }
  }
  return current instanceof z.ZodObject ? current.shape : {};
}

/** `a, b or c`. */
export function orList(words: readonly string[]): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;
}

/** A value in a message: short, quoted when it is text. */
function show(value: unknown): string {
  const text = typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
