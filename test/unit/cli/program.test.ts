import { expect, test } from 'vitest';
import { commands } from '../../../src/cli/commands/index.js';
import { parseArguments } from '../../../src/cli/program.js';
import { VERSION } from '../../../src/workflows/version.js';

/** The values that a line gives a command. */
async function given(...argv: string[]) {
  const parsed = await parseArguments(argv);
  if ('text' in parsed) throw new Error(parsed.text);
  const entries = Object.entries(parsed.sources.given).map(([key, { value }]) => [key, value]);
  return { name: parsed.command.name, ...Object.fromEntries(entries) };
}

test('flags are read as their schema says, and only those that are there', async () => {
  expect(
    await given('generate', 'm', '--temperature', '0.5', '--stop', 'a,b', '--stop', 'c', '--echo'),
  ).toEqual({ name: 'generate', model: 'm', temperature: 0.5, stop: ['a,b', 'c'], echo: true });
  expect(await given('generate', '-p', '-1', '--temperature', '-1')).toEqual({
    name: 'generate',
    prompt: '-1',
    temperature: -1,
  });
});

test('text where a number belongs stays text for the schema to refuse', async () => {
  expect(await given('generate', '--top-k', 'many')).toMatchObject({ top_k: 'many' });
});

test('global flags stand before or after the command', async () => {
  expect(await given('--threads', '2', 'generate', 'm')).toMatchObject({ threads: 2 });
  expect(await given('generate', 'm', '--threads', '2')).toMatchObject({ threads: 2 });
});

test.each([
  [['genrate'], /unknown command 'genrate'; did you mean generate\?/],
  [
    ['generate', '--temprature', '1'],
    /unknown option '--temprature'; did you mean --temperature\?/,
  ],
  [['generate', '--temperature'], /argument missing/],
  [['generate', 'a', 'b'], /too many arguments/],
])('%j is refused', async (argv, message) => {
  await expect(parseArguments(argv)).rejects.toThrow(message);
});

test('the version', async () => {
  expect(await parseArguments(['--version'])).toEqual({ text: `${VERSION}\n` });
});

test.each(Object.keys(commands))(
  '%s: the help has a line per flag and its examples',
  async (name) => {
    const command = await commands[name]?.();
    expect(command?.name).toBe(name);
    const parsed = await parseArguments([name, '--help']);
    const text = 'text' in parsed ? parsed.text : '';
    for (const key of Object.keys(command?.flags ?? {})) {
      expect(text).toMatch(new RegExp(`--(no-)?${key.replaceAll('_', '-')}\\b`));
      expect(Object.keys(command?.shape ?? {})).toContain(key);
    }
    expect(command?.examples.length).toBeGreaterThan(0);
    for (const example of command?.examples ?? []) {
      expect(text).toContain(example.command);
      expect(example.command).toContain(`llmkit ${name}`);
    }
  },
);

test('flags without a command', async () => {
  await expect(parseArguments(['--json'])).rejects.toThrow(/which command\?/);
});

test('one config file, and a command that needs one says so', async () => {
  await expect(parseArguments(['lora-train', 'a', '--config', 'b'])).rejects.toThrow(
    /one config file, got a and --config b/,
  );
  await expect(parseArguments(['lora-train'])).rejects.toThrow(/CONFIG is missing/);
  const parsed = await parseArguments(['lora-train', 'a.yaml', '--set', 'x=1', '--set', 'y=2']);
  expect('sources' in parsed && parsed.sources).toMatchObject({
    file: 'a.yaml',
    set: ['x=1', 'y=2'],
  });
});
