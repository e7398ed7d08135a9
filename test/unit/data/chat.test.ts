import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { renderChat } from '../../../src/data/chat.js';
import { loadDataset } from '../../../src/data/dataset.js';
import { encodeSpans } from '../../../src/data/encode.js';
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

test.skipIf(!model)('ends each of 200 Alpaca examples with one trained EOS', async () => {
  const source = sharedData('sft', 'alpaca_en_demo.json');
  if (!source) return;
  const rows = JSON.parse(readFileSync(source, 'utf8')).slice(0, 200);
  const path = join(tmpdir(), `alpaca-${process.pid}.json`);
  writeFileSync(path, JSON.stringify(rows));
  const tokenizer = await loadTokenizer(model ?? '');
  const options = { maxLength: 4096, trainOn: 'completion' } as const;
  const { examples, stats } = loadDataset([{ path }], tokenizer, options);
  rmSync(path);
  expect(stats).toMatchObject({ records: 200, truncated: 0, skipped: 0, straddling: 0 });
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
