/** The part of jasmine that the conformance run uses; the package brings no types. */
declare module 'jasmine-core' {
  export function installGlobals(target: object): void;
}

interface JasmineSpecResult {
  readonly fullName: string;
  readonly status: string;
  readonly failedExpectations: readonly { readonly message: string }[];
  readonly duration: number | null;
}

interface JasmineEnvironment {
  configure(settings: { random: boolean; forbidDuplicateNames: boolean }): void;
  addReporter(reporter: { specDone(result: JasmineSpecResult): void }): void;
  execute(): Promise<unknown>;
}

declare const jasmine: { getEnv(): JasmineEnvironment };
