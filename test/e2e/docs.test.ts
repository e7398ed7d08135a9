import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { testedBackends } from '../helpers/backends.js';
import { runCli, temporaryFolder } from './helpers.js';

// Every `npx llmkit …` and `node fixtures/…` line of a ```sh block runs, page by page, in one folder that holds the project's
// fixtures. Blocks marked ```sh slow run with LLMKIT_SLOW=1 only; blocks of other commands are not run.

interface Page {
  readonly path: string;
  readonly commands: readonly string[];
}

const slow = process.env.LLMKIT_SLOW === '1';
const paths = ['README.md', ...readdirSync('docs').map((name) => join('docs', name))];
const pages: Page[] = paths
  .filter((path) => path.endsWith('.md'))
  .map((path) => ({ path, commands: commandsOf(readFileSync(path, 'utf8')) }))
  .filter(({ commands }) => commands.length > 0);

function commandsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^```(sh|sh slow)\n([\s\S]*?)^```$/gm)]
    .filter(([, kind]) => kind === 'sh' || slow)
    .flatMap(([, , block = '']) => block.replaceAll('\\\n', ' ').split('\n'))
    .filter((line) => /^node fixtures\/|(^|\| )npx llmkit /.test(line));
}

/** The reference backend takes minutes for what the pages train and score: less of it shows that they run. */
const LESS: Readonly<Record<string, readonly string[]>> = {
  'lora-train': ['max_steps=2', 'batch_size=1', 'warmup_steps=0'].flatMap((key) => ['--set', key]),
  eval: ['--limit', '1'],
};

/** Words of a shell line: quotes, and a pipe from echo as the only composition. */
function parse(line: string): { args: string[]; input: string } {
  const [, echoed, command = ''] = /^(?:echo '(.*)' \| )?npx llmkit (.*)$/.exec(line) ?? [];
  const words: string[] = command.match(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g) ?? [];
  const args = words
    .slice(0, words.includes('#') ? words.indexOf('#') : undefined)
    .map((word) => word.replace(/'([^']*)'|"([^"]*)"/g, (_, single, double) => single ?? double));
  return { args, input: echoed === undefined ? '' : `${echoed}\n` };
}

test('the documentation has commands to run', () => {
  expect(pages.map(({ path }) => path)).toContain('README.md');
  expect(pages.flatMap(({ commands }) => commands).length).toBeGreaterThan(20);
});

describe.each(pages)('$path', ({ commands }) => {
  const cwd = temporaryFolder();
  symlinkSync(resolve('fixtures'), join(cwd, 'fixtures'));
  if (existsSync('../shared')) symlinkSync(resolve('../shared'), join(cwd, 'shared'));

  test.each(commands)('%s', { timeout: slow ? 1_800_000 : 300_000 }, async (line) => {
    if (line.startsWith('node ')) {
      execFileSync(process.execPath, line.split(' ').slice(1), { cwd });
      return;
    }
    const { args, input } = parse(line);
    const less = testedBackends.includes('native') ? [] : (LESS[args[0] ?? ''] ?? []);
    const env = { LLMKIT_HOME: join(cwd, 'llmkit-home') };
    const { code, stderr } = await runCli([...args, ...less], { cwd, input, env });
    expect(code, stderr).toBe(0);
  });
});
