import { expect, test } from 'vitest';
import {
  ALPACA_TEMPLATE,
  parseTemplate,
  renderFields,
  renderPrompt,
} from '../../../src/data/template.js';

const alpaca = parseTemplate(ALPACA_TEMPLATE);

test('renders the Alpaca blocks with and without an input and a system text', () => {
  expect(renderFields(alpaca, { instruction: 'Add.', input: '1 2', output: '3' }, 'x')).toEqual({
    prompt: '### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n',
    completion: '3',
  });
  const fields = { instruction: 'Hi', input: '', system: 'Be kind.', output: 'Hello' };
  expect(renderFields(alpaca, fields, 'x').prompt).toBe(
    'Be kind.\n\n### Instruction:\nHi\n\n### Response:\n',
  );
});

test('begins the completion at {output}, else at the last placeholder', () => {
  const ended = parseTemplate('Q: {instruction}\nA: {output}\n--');
  expect(renderFields(ended, { instruction: 'a', output: 'b' }, 'x')).toEqual({
    prompt: 'Q: a\nA: ',
    completion: 'b\n--',
  });
  const named = parseTemplate('{"q": {question}} {answer}');
  expect(renderFields(named, { question: 'a', answer: 'b' }, 'x')).toEqual({
    prompt: '{"q": a} ',
    completion: 'b',
  });
});

test('does not read placeholders that stand in the data', () => {
  const template = parseTemplate('{prompt}|{completion}');
  const fields = { prompt: '{completion} [[x]]', completion: '{prompt}' };
  expect(renderFields(template, fields, 'x')).toEqual({
    prompt: '{completion} [[x]]|',
    completion: '{prompt}',
  });
});

test('refuses a template without a place for the completion', () => {
  expect(() => parseTemplate('no placeholder')).toThrow(/one \{output\}/);
  expect(() => parseTemplate('{output} {completion}')).toThrow(/one \{output\}/);
  expect(() => parseTemplate('{prompt} [[{output}]]')).toThrow(/one \{output\}/);
});

test('names a field that a record lacks', () => {
  const template = parseTemplate('{question}\n{answer}');
  expect(() => renderFields(template, { answer: 'b', topic: 'c' }, 'd.jsonl:7')).toThrow(
    /d\.jsonl:7: the template has \{question\}, the record has answer, topic/,
  );
});

test('renders the prompt of a user as training did', () => {
  const asked = renderFields(alpaca, { instruction: 'Hi', output: '' }, 'x').prompt;
  expect(renderPrompt(ALPACA_TEMPLATE, 'Hi')).toBe(asked);
  expect(renderPrompt(ALPACA_TEMPLATE, 'Hi', 'Be kind.')).toBe(`Be kind.\n\n${asked}`);
  expect(renderPrompt('Q: {question}\nA: {answer}', 'Hi')).toBe('Q: Hi\nA: ');
  expect(() => renderPrompt('{a} {b} {output}', 'Hi')).toThrow(/wants a, b/);
});
