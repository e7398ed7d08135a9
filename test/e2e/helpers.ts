import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';

/** What a command line did. */
export interface CliResult {
  /** The exit code; undefined when a signal ended the process. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to run it. */
export interface CliOptions {
  readonly input?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts `bin/llmkit.js`, the way a user does. */
export function spawnCli(args: readonly string[], options: CliOptions = {}): ChildProcess {
  return spawn(process.execPath, [resolve('bin/llmkit.js'), ...args], {
    cwd: options.cwd ?? process.cwd(),
    env: { ...process.env, NO_COLOR: '1', ...options.env },
    stdio: 'pipe',
  });
}

/** Runs `bin/llmkit.js` to its end. */
export async function runCli(
  args: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  const child = spawnCli(args, options);
  child.stdin?.end(options.input ?? '');
  const closed = new Promise<number | null>((done) => child.once('close', done));
  const streams = [child.stdout, child.stderr].map((stream) => (stream ? text(stream) : ''));
  const [stdout = '', stderr = ''] = await Promise.all(streams);
  return { code: (await closed) ?? undefined, stdout, stderr };
}

/** Runs a command with `--json`. @throws Error when it fails or prints anything but one document */
export async function runJson(
  args: readonly string[],
  options: CliOptions = {},
  // biome-ignore lint/suspicious/noExplicitAny: each test knows the shape of its document
): Promise<any> {
  const { code, stdout, stderr } = await runCli([...args, '--json'], options);
  if (code !== 0) throw new Error(`llmkit ${args.join(' ')}: exit ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** A fresh folder for a test's outputs. */
export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'llmkit-e2e-'));
}
