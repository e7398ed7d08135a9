import { type ChildProcess } from 'node:child_process';
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
export declare function spawnCli(args: readonly string[], options?: CliOptions): ChildProcess;
/** Runs `bin/llmkit.js` to its end. */
export declare function runCli(args: readonly string[], options?: CliOptions): Promise<CliResult>;
/** Runs a command with `--json`. @throws Error when it fails or prints anything but one document */
export declare function runJson(args: readonly string[], options?: CliOptions): Promise<any>;
/** A fresh folder for a test's outputs. */
export declare function temporaryFolder(): string;
