import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { PythonRandom } from '../../../src/eval/python-random.js';
import {
  capitalize,
  codePointLength,
  countWords,
  rstrip,
  strip,
} from '../../../src/eval/python-text.js';

interface Golden {
  readonly samples: readonly {
    readonly seed: number;
    readonly draws: readonly { n: number; k: number; drawn: readonly number[] }[];
  }[];
  readonly capitalize: readonly (readonly [string, string])[];
  readonly spaces: readonly string[];
}

const golden: Golden = JSON.parse(readFileSync('fixtures/tasks/python.json', 'utf8'));

test.each(golden.samples)('draws as random.Random($seed) does', ({ seed, draws }) => {
  const random = new PythonRandom(seed);
  for (const { n, k, drawn } of draws) {
    const population = Array.from({ length: n }, (_, i) => i);
    expect(random.sample(population, k), `${k} of ${n}`).toEqual(drawn);
  }
});

test('a sample larger than the population is refused', () => {
  expect(() => new PythonRandom(0).sample([1, 2], 3)).toThrow(RangeError);
});

test('capitalizes as str.capitalize does', () => {
  for (const [text, expected] of golden.capitalize) expect(capitalize(text), text).toBe(expected);
});

test('strips what str.strip strips, and no more', () => {
  const spaces = golden.spaces.join('');
  expect(strip(`${spaces}a ${spaces}`)).toBe('a');
  expect(rstrip(`${spaces}a${spaces}`)).toBe(`${spaces}a`);
  const others = '\ufeff\u200b\u180e';
  expect(strip(others)).toBe(others);
});

test('counts code points and words', () => {
  expect(codePointLength('a🌼é')).toBe(3);
  expect(countWords('one two\n\nthree')).toBe(3);
  expect(countWords(' one ')).toBe(3); // re.split gives empty texts at the ends
});
