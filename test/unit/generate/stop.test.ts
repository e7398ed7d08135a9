import { expect, test } from 'vitest';
import { StopMatcher } from '../../../src/generate/stop.js';

/** What is shown of a text that arrives in pieces. */
function shown(pieces: readonly string[], stops: readonly string[]) {
  const matcher = new StopMatcher(stops);
  const emitted: string[] = [];
  for (const piece of pieces) {
    const { text, stopped } = matcher.push(piece);
    emitted.push(text);
    if (stopped) return { emitted, stopped };
  }
  emitted.push(matcher.flush());
  return { emitted, stopped: false };
}

test('a stop string over several pieces is cut, and nothing of it is shown', () => {
  expect(shown(['named L', 'i', 'ly. She'], ['Lily'])).toEqual({
    emitted: ['named ', '', ''],
    stopped: true,
  });
});

test('what only looked like a stop string is shown in the end', () => {
  const { emitted, stopped } = shown(['a #', '# b #', '#'], ['###']);
  expect(emitted.join('')).toBe('a ## b ##');
  expect(emitted[0]).toBe('a ');
  expect(stopped).toBe(false);
});

test('the earliest of several stop strings wins', () => {
  expect(shown(['one two three'], ['three', 'two'])).toEqual({ emitted: ['one '], stopped: true });
});

test.each(['abab', 'aab', 'ab'])('equals indexOf for every cut of a text (%s)', (stop) => {
  const text = 'aaababaabababbab';
  for (let size = 1; size < 5; size++) {
    const pieces = text.match(new RegExp(`.{1,${size}}`, 'g')) ?? [];
    expect(shown(pieces, [stop]).emitted.join('')).toBe(text.slice(0, text.indexOf(stop)));
  }
});

test('without stop strings everything passes at once', () => {
  expect(shown(['a', 'b'], [])).toEqual({ emitted: ['a', 'b', ''], stopped: false });
});
