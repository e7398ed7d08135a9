/** A JSON value as the strict parser gives it: plain integers are bigint, so that 2.0 or 2e0 is not taken for 2. */
export type StrictJson =
  | null
  | boolean
  | number
  | bigint
  | string
  | StrictJson[]
  | Map<string, StrictJson>;

const MAX_DEPTH = 32;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;

/**
 * Parses JSON from an untrusted file: unlike JSON.parse it refuses duplicate keys, half surrogate pairs and deep
 * nesting, and tells integers from other numbers.
 *
 * @throws SyntaxError with the place
 */
export function parseStrictJson(text: string): StrictJson {
  const parser = new Parser(text);
  const value = parser.value(0);
  parser.end();
  return value;
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): StrictJson {
    if (depth > MAX_DEPTH) this.#fail(`nesting deeper than ${MAX_DEPTH}`);
    const first = this.#peek();
    if (first === '{') return this.#object(depth);
    if (first === '[') return this.#array(depth);
    if (first === '"') return this.#string();
    for (const [word, value] of WORDS) {
      if (this.#text.startsWith(word, this.#at)) {
        this.#at += word.length;
        return value;
      }
    }
    return this.#number();
  }

  end(): void {
    if (this.#peek() !== '') this.#fail('something after the value');
  }

  #object(depth: number): Map<string, StrictJson> {
    const entries = new Map<string, StrictJson>();
    this.#at++;
    if (this.#peek() !== '}') {
      do {
        if (this.#peek() !== '"') this.#fail('expected a key');
        const key = this.#string();
        if (entries.has(key)) this.#fail(`duplicate key ${JSON.stringify(key)}`);
        this.#expect(':');
        entries.set(key, this.value(depth + 1));
      } while (this.#accept(','));
    }
    this.#expect('}');
    return entries;
  }

  #array(depth: number): StrictJson[] {
    const items: StrictJson[] = [];
    this.#at++;
    if (this.#peek() !== ']') {
      do items.push(this.value(depth + 1));
      while (this.#accept(','));
    }
    this.#expect(']');
    return items;
  }

  #string(): string {
    const start = this.#at;
    for (this.#at++; this.#text[this.#at] !== '"'; this.#at++) {
      if (this.#at >= this.#text.length) this.#fail('a string without an end');
      if (this.#text[this.#at] === '\\') this.#at++;
    }
    this.#at++;
    const value = JSON.parse(this.#text.slice(start, this.#at)) as string; // checks the escapes
    if (/\p{Cs}/u.test(value)) this.#fail('half a surrogate pair in a string');
    return value;
  }

  #number(): number | bigint {
    const token = this.#match(NUMBER, 'a value');
    return /^(?:0|-?[1-9]\d*)$/.test(token) ? BigInt(token) : Number(token);
  }

  /** The next character that is not white space; empty at the end. */
  #peek(): string {
    this.#match(SPACE, 'white space');
    return this.#text.charAt(this.#at);
  }

  #accept(character: string): boolean {
    if (this.#peek() !== character) return false;
    this.#at++;
    return true;
  }

  #expect(character: string): void {
    if (!this.#accept(character)) this.#fail(`expected '${character}'`);
  }

  #match(pattern: RegExp, what: string): string {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (!match) return this.#fail(`expected ${what}`);
    this.#at = pattern.lastIndex;
    return match[0];
  }

  #fail(problem: string): never {
    throw new SyntaxError(`${problem} at character ${this.#at}`);
  }
}

const WORDS: readonly (readonly [string, StrictJson])[] = [
  ['null', null],
  ['true', true],
  ['false', false],
];
