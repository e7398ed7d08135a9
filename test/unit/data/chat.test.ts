import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renderChat } from '../../../src/data/chat.js';
import { loadDataset } from '../../../src/data/dataset.js';
import { encodeSpans } from '../../../src/data/encode.js';
import { parseChatTemplate } from '../../../src/tokenizer/chat-template.js';
import { loadTokenizer } from '../../../src/tokenizer/tokenizer.js';
import { sharedData } from '../../helpers/shared-data.js';

const golden = sharedData('golden', 'tuning.json');
const model = sharedData('base-llama-6m');

test.skipIf(!golden || !model)("masks a conversation as TRL's {% generation %} does", async () => {
  const { assistant_mask } = JSON.parse(readFileSync(golden ?? '', 'utf8')).data;
  const tokenizer = await loadTokenizer(model ?? '');
  const chat = tokenizer.chatTemplate;
  if (!chat) throw new Error('base-llama-6m has a chat template');
  const eosTexts = tokenizer.eosIds.map((id) => tokenizer.tokenText(id));
  const spans = renderChat(assistant_mask.messages, { chat, eosTexts, where: 'x' });
  expect(spans.map((span) => span.text).join('')).toBe(assistant_mask.text);
  const { ids, trained } = encodeSpans(spans, tokenizer, false);
  expect(ids).toEqual(assistant_mask.ids);
  expect(trained).toEqual(assistant_mask.mask);
});

test.skipIf(!model)('ends each of 60 Alpaca examples with one trained EOS', async () => {
  const source = sharedData('sft', 'alpaca_en_demo.json');
  if (!source) return;
  const rows = JSON.parse(readFileSync(source, 'utf8')).slice(0, 60);
  const path = join(tmpdir(), `alpaca-${process.pid}.json`);
  writeFileSync(path, JSON.stringify(rows));
  const tokenizer = await loadTokenizer(model ?? '');
  const options = { maxLength: 4096, trainOn: 'completion' } as const;
  const { examples, stats } = loadDataset([{ path }], tokenizer, options);
  rmSync(path);
  expect(stats).toMatchObject({ records: 60, truncated: 0, skipped: 0, straddling: 0 });
  const eos = tokenizer.eosIds[0];
  examples.forEach(({ ids, trained }, i) => {
    const answer = [...ids].filter((_, at) => trained[at] === 1);
    expect(answer.filter((id) => id === eos)).toHaveLength(1);
    expect(answer.at(-1)).toBe(eos);
    expect(tokenizer.decode(answer.slice(0, -1), { skipSpecialTokens: false })).toBe(
      rows[i].output,
    );
    expect(ids.filter((id) => id === tokenizer.bosId)).toHaveLength(1);
  });
});

/** Templates in the forms that published models have; `eos` is how their tokenizer ends a turn. */
const FORMS: Record<string, { template: string; eos: string[]; trained: string[] }> = {
  headers: {
    template: `{{ bos_token }}{% for m in messages %}<|head|>{{ m.role }}<|/head|>

{{ m.content | trim }}<|eot|>{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|/head|>

{% endif %}`,
    eos: ['<|end|>', '<|eot|>'],
    trained: ['one<|eot|>', 'two <b><|eot|>'],
  },
  'turns that must alternate': {
    template: `{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}`,
    eos: ['</s>'],
    trained: [' one</s>', ' two <b></s>'],
  },
  'an answer that begins with a thought': {
    template: `{% for m in messages %}<|{{ m.role }}|>
{% if m.role == 'assistant' and loop.last %}<think>

</think>

{% endif %}{{ m.content }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}`,
    eos: ['<|end|>'],
    trained: ['one<|end|>', '<think>\n\n</think>\n\ntwo <b><|end|>'],
  },
  'a generation prompt that history lacks': {
    template: `{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|><think>{% endif %}`,
    eos: ['</s>'],
    trained: ['one</s>', 'two <b></s>'],
  },
  'no EOS': {
    template: `{% for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}`,
    eos: ['</s>'],
    trained: ['one\n', 'two <b>\n'],
  },
};

test.each(Object.entries(FORMS))('trains the right text of %s', (_, { template, eos, trained }) => {
  const chat = parseChatTemplate(template, { bos_token: '<s>' }, 'chat');
  const messages = [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: 'one' },
    { role: 'user', content: 'two' },
    { role: 'assistant', content: 'two <b>' },
  ];
  const spans = renderChat(messages, { chat, eosTexts: eos, where: 'x' });
  expect(spans.map((span) => span.text).join('')).toBe(
    chat.render(messages, { addGenerationPrompt: false }),
  );
  expect(spans.filter((span) => span.trained).map((span) => span.text)).toEqual(trained);
});

test("passes on a template's own refusal, and refuses what it cannot mark", () => {
  const alternate = FORMS['turns that must alternate']?.template ?? '';
  const chat = parseChatTemplate(alternate, { bos_token: '<s>' }, 'chat');
  const options = { chat, eosTexts: ['</s>'], where: 'x.jsonl:3' };
  const answer = { role: 'assistant', content: 'a' };
  expect(() => renderChat([answer], options)).toThrow(/x\.jsonl:3: .*roles must alternate/);
  const upper = parseChatTemplate(
    '{% for m in messages %}{{ m.content | upper }}{% endfor %}',
    {},
    'chat',
  );
  const asked = [{ role: 'user', content: 'b' }, answer];
  expect(() => renderChat(asked, { ...options, chat: upper })).toThrow(/turn 2 differently/);
});
