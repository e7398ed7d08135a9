import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseChatTemplate } from '../../../src/tokenizer/chat-template.js';
import { promptTemplateOf, renderChat } from '../../../src/workflows/chat-prompt.js';
import { byteTokenizer } from '../../helpers/byte-tokenizer.js';

const PLAIN =
  '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}';
const own = { ...byteTokenizer, chatTemplate: parseChatTemplate(PLAIN, {}, 'test') };
const messages = [
  { role: 'system', content: 'be brief' },
  { role: 'user', content: 'hello' },
];

/** An adapter's folder whose manifest holds a template. */
function adapter(template: unknown): string {
  const folder = mkdtempSync(join(tmpdir(), 'llmkit-adapter-'));
  const manifest = { version: '1', command: 'lora-train', config: {}, template };
  writeFileSync(join(folder, 'llmkit.json'), JSON.stringify(manifest));
  return folder;
}

/** The prompt as text. */
async function rendered(
  tokenizer: typeof byteTokenizer,
  ...folders: readonly string[]
): Promise<string> {
  const template = await promptTemplateOf(tokenizer, folders);
  return byteTokenizer.decode(renderChat(tokenizer, template, messages));
}

test('the tokenizer’s own template, up to the answer', async () => {
  expect(await rendered(own)).toBe('[system]be brief[user]hello[assistant]');
});

test('a merged model has its adapter’s template; another adapter’s comes before it', async () => {
  const merged = adapter({ kind: 'text', text: 'Q: {instruction} A:{output}' });
  const plain = mkdtempSync(join(tmpdir(), 'llmkit-adapter-'));
  expect(await rendered(own, plain, merged)).toContain('Q: hello A:');
  const other = adapter({ kind: 'none' });
  expect(await rendered(own, other, merged)).toBe('[system]be brief[user]hello[assistant]');
});

test('an adapter’s chat template comes before the tokenizer’s', async () => {
  const source = '{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}';
  const folder = adapter({ kind: 'chat', source, hash: 'other' });
  const end = byteTokenizer.tokenText(256);
  expect(await rendered(own, folder)).toBe(`be brief${end}hello${end}`);
});

test('an adapter’s text template takes the last user’s text', async () => {
  const folder = adapter({ kind: 'text', text: 'Q: {prompt}\nA: {completion}' });
  expect(await rendered(own, folder)).toBe('Q: hello\nA: ');
});

test('an adapter trained on plain text leaves the tokenizer’s template', async () => {
  expect(await rendered(own, adapter({ kind: 'none' }))).toBe(
    '[system]be brief[user]hello[assistant]',
  );
});

test('no template is a usage error, a strange one a config error', async () => {
  await expect(rendered(byteTokenizer)).rejects.toThrow(/no chat template/);
  await expect(rendered(own, adapter({ kind: 'odd' }))).rejects.toThrow(/llmkit\.json: template/);
});
