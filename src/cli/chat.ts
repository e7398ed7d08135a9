import { createInterface, type Interface } from 'node:readline/promises';
import type { CompletionRequest, Generator } from '../workflows/generate.js';
import type { Io } from './command.js';

/** How each turn is answered. */
export interface ConverseOptions {
  readonly request: Omit<CompletionRequest, 'prompt'>;
  readonly system: string | undefined;
}

/**
 * Converses on the terminal until `/exit` or Ctrl-D; every turn sees the ones before. Ctrl-C cuts
 * an answer off, at the prompt it ends the conversation.
 */
export async function converse(
  generator: Generator,
  { request, system }: ConverseOptions,
  io: Io,
): Promise<void> {
  const first = system === undefined ? [] : [{ role: 'system', content: system }];
  let messages = first;
  let turn: AbortController | undefined;
  io.note(`${generator.backend} · compute ${generator.compute} · kv ${generator.kvDtype}`);
  io.note('/exit or Ctrl-D ends, /clear forgets the conversation');
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  terminal.on('SIGINT', () => (turn ? turn.abort() : terminal.close()));
  try {
    for (;;) {
      const line = await ask(terminal);
      if (line === undefined || line === '/exit') return;
      if (line === '/clear') messages = first;
      if (line === '' || line === '/clear') continue;
      const asked = [...messages, { role: 'user', content: line }];
      turn = new AbortController();
      const answer = await reply(generator, { ...request, prompt: asked }, turn.signal, io);
      turn = undefined;
      if (answer !== undefined) messages = [...asked, { role: 'assistant', content: answer }];
    }
  } finally {
    terminal.close();
  }
}

/** The next line; undefined when the conversation is over. */
function ask(terminal: Interface): Promise<string | undefined> {
  return new Promise((resolve) => {
    const over = () => resolve(undefined);
    terminal.once('close', over);
    terminal.question('> ').then((line) => {
      terminal.off('close', over);
      resolve(line.trim());
    }, over);
  });
}

/** Streams an answer; undefined when it was cut off. */
async function reply(
  generator: Generator,
  request: CompletionRequest,
  cut: AbortSignal,
  io: Io,
): Promise<string | undefined> {
  const signal = AbortSignal.any([io.signal, cut]);
  try {
    const onText = (text: string) => io.stdout(text);
    const { choices } = await generator.complete({ ...request, signal, onText });
    return choices[0]?.text.trim();
  } catch (error) {
    if (!cut.aborted) throw error;
    return undefined;
  } finally {
    io.stdout('\n');
  }
}
