import type { HfConfig } from '../checkpoint/checkpoint.js';
import { LlmkitError } from '../errors.js';

/** No dimension of a real model comes near it; products of two stay exact integers. */
const MAX_SIZE = 2 ** 26;

/** Reads fields of a config.json, checks them, and reports all problems at once. */
export class ConfigReader {
  readonly #fields: HfConfig;
  readonly #prefix: string;
  readonly #problems: string[] = [];
  readonly #keys = new Set<string>();

  /** @param prefix where the fields lie within the file, for messages: `rope_scaling.` */
  constructor(fields: HfConfig, prefix = '') {
    this.#fields = fields;
    this.#prefix = prefix;
  }

  /** Every key that was asked for, whether it is there or not. */
  get keys(): ReadonlySet<string> {
    return this.#keys;
  }

  /** A positive integer; `fallback` where the field is absent or null. */
  size(key: string, fallback?: number): number {
    return this.optionalSize(key) ?? fallback ?? this.#reject(key, 'a positive integer', 1);
  }

  /** A positive integer; undefined where the field is null; `fallback` where it is absent. */
  optionalSize(key: string, fallback?: number): number | undefined {
    const value = this.#read(key) === undefined ? fallback : this.#fields[key];
    if (value === undefined || value === null) return undefined;
    if (Number.isInteger(value) && Number(value) > 0 && Number(value) <= MAX_SIZE) {
      return Number(value);
    }
    return this.#reject(key, `an integer from 1 to ${MAX_SIZE}`, 1);
  }

  /** An integer, zero or more. */
  count(key: string, fallback: number): number {
    const value = this.#read(key) ?? fallback;
    if (Number.isInteger(value) && Number(value) >= 0) return Number(value);
    return this.#reject(key, 'an integer, 0 or more', fallback);
  }

  /** A finite number above zero. */
  number(key: string, fallback: number): number {
    const value = this.#read(key) ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    return this.#reject(key, 'a number above 0', fallback);
  }

  /** True or false. */
  flag(key: string, fallback: boolean): boolean {
    const value = this.#read(key) ?? fallback;
    return typeof value === 'boolean' ? value : this.#reject(key, 'true or false', fallback);
  }

  /** A text. */
  text(key: string, fallback: string): string {
    const value = this.#read(key) ?? fallback;
    return typeof value === 'string' ? value : this.#reject(key, 'a text', fallback);
  }

  /** A list of texts, or undefined where absent. */
  texts(key: string): readonly string[] | undefined {
    const value = this.#read(key) ?? undefined;
    if (value === undefined) return undefined;
    if (Array.isArray(value) && value.every((entry) => typeof entry === 'string')) return value;
    return this.#reject(key, 'a list of texts', []);
  }

  /** An object, or undefined where absent. */
  record(key: string): HfConfig | undefined {
    const value = this.#read(key) ?? undefined;
    if (value === undefined) return undefined;
    if (this.isRecord(key)) return value as HfConfig;
    return this.#reject(key, 'an object', {});
  }

  /** True where the field is an object. */
  isRecord(key: string): boolean {
    const value = this.#read(key);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  }

  /** True where the field is there and not null. */
  has(key: string): boolean {
    return (this.#read(key) ?? undefined) !== undefined;
  }

  /** Notes a problem that is not one of a single field. */
  problem(text: string): void {
    this.#problems.push(text);
  }

  /** @throws LlmkitError `checkpoint` that lists every problem */
  finish(): void {
    if (this.#problems.length === 0) return;
    throw new LlmkitError('checkpoint', `config.json: ${this.#problems.join('; ')}`);
  }

  #read(key: string): unknown {
    this.#keys.add(key);
    return this.#fields[key];
  }

  #reject<T>(key: string, expected: string, fallback: T): T {
    const value = this.#fields[key];
    const got = value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 60);
    this.#problems.push(`${this.#prefix}${key}: expected ${expected}, got ${got}`);
    return fallback;
  }
}
