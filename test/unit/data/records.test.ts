import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readRecords } from '../../../src/data/records.js';

const folder = mkdtempSync(join(tmpdir(), 'records-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(text: string): string {
  const path = join(folder, 'data.jsonl');
  writeFileSync(path, text);
  return path;
}

const read = (text: string) => [...readRecords(file(text))];

test('reads JSONL with blank lines, a byte order mark and Windows line ends', () => {
  expect(read('\ufeff{"a": 1}\r\n\n{"a": "ü"}')).toEqual([
    { value: { a: 1 }, where: join(folder, 'data.jsonl:1') },
    { value: { a: 'ü' }, where: join(folder, 'data.jsonl:3') },
  ]);
});

test('reads a file with one JSON array', () => {
  expect(read(' [{"a": 1}, {"a": 2}]').map(({ value }) => value)).toEqual([{ a: 1 }, { a: 2 }]);
});

test.each([
  ['{"text": "fine"}\n{"text": \n', /data\.jsonl:2: expected a JSON object, got \{"text":/],
  ['{"a": 1}\n3\n', /data\.jsonl:2: expected a JSON object, got 3/],
  ['[{"a": 1}, []]', /data\.jsonl: item 2: expected a JSON object, got \[\]/],
])('says where %j is wrong', (text, message) => {
  expect(() => read(text)).toThrow(message);
});

test('names a file that is not there', () => {
  expect(() => [...readRecords(join(folder, 'none.jsonl'))]).toThrow(/none\.jsonl.*no such file/);
});
