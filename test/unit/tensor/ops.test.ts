import { expect, test } from 'vitest';
import { testedBackends } from '../../helpers/backends.js';
import { OP_CASES } from './op-cases.js';
import { checkOp } from './op-check.js';

test('there is a backend to test', () => {
  expect(testedBackends.length).toBeGreaterThan(0);
});

test.each(OP_CASES)('$name', (op) => checkOp(op, testedBackends));
