/** What Python's str.isspace calls white space; JavaScript's trim takes another set. */
const SPACE =
  '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const LEADING = new RegExp(`^${SPACE}+`);
const TRAILING = new RegExp(`${SPACE}+$`);
const SPACES = new RegExp(`${SPACE}+`);

/** Python's str.strip(). */
export function strip(text: string): string {
  return rstrip(text.replace(LEADING, ''));
}

/** Python's str.rstrip(). */
export function rstrip(text: string): string {
  return text.replace(TRAILING, '');
}

/** Number of words: `len(re.split(r"\s+", text))` of Python. */
export function countWords(text: string): number {
  return text.split(SPACES).length;
}

/** Python's len(): code points, not UTF-16 units. */
export function codePointLength(text: string): number {
  return [...text].length;
}

/** Python's str.capitalize(): the first character in title case, all others in lower case. */
export function capitalize(text: string): string {
  const [first] = text;
  if (first === undefined) return '';
  // Lower-cased whole: a final sigma depends on the letters around it.
  return titleCase(first) + text.toLowerCase().slice(first.toLowerCase().length);
}

/** Characters whose upper case is two letters, of which title case raises only the first. */
const LIGATURES = 'ßևﬀﬁﬂﬃﬄﬅﬆﬓﬔﬕﬖﬗ';
/** Greek letters with an iota below that have no title-case character of their own. */
const IOTA_SUBSCRIPT = new Map([
  ['\u1fb2', '\u1fba\u0345'],
  ['\u1fb4', '\u0386\u0345'],
  ['\u1fb7', '\u0391\u0342\u0345'],
  ['\u1fc2', '\u1fca\u0345'],
  ['\u1fc4', '\u0389\u0345'],
  ['\u1fc7', '\u0397\u0342\u0345'],
  ['\u1ff2', '\u1ffa\u0345'],
  ['\u1ff4', '\u038f\u0345'],
  ['\u1ff7', '\u03a9\u0342\u0345'],
]);

/** Unicode's full title case of one character: its upper case but for some letters. */
function titleCase(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const within = (low: number, high: number) => code >= low && code <= high;
  if (within(0x10d0, 0x10ff)) return character; // Georgian has no title case
  if (within(0x1c4, 0x1cc)) return middleOfThree(code, 0x1c4); // Ǆ ǅ ǆ
  if (within(0x1f1, 0x1f3)) return middleOfThree(code, 0x1f1);
  if (within(0x1f80, 0x1faf)) return String.fromCodePoint(code | 8);
  if (['ᾳ', 'ῃ', 'ῳ'].includes(character)) return String.fromCodePoint(code + 9);
  if (['ᾼ', 'ῌ', 'ῼ'].includes(character)) return character;
  const upper = character.toUpperCase();
  if (LIGATURES.includes(character)) return upper.charAt(0) + upper.slice(1).toLowerCase();
  return IOTA_SUBSCRIPT.get(character) ?? upper;
}

/** Upper, title and lower case of a digraph lie side by side. */
function middleOfThree(code: number, first: number): string {
  return String.fromCodePoint(code - ((code - first) % 3) + 1);
}
