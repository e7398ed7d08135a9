import { expect, test } from 'vitest';
import { testedBackends } from './backends.js';
import { OP_CASES } from './op-cases.js';
import { checkOp } from './op-check.js';

const backends = await testedBackends();

test('there is a backend to test', () => {
  expect(backends).toContain('reference');
});

test.each(OP_CASES)('$name', (op) => checkOp(op, backends));
