/**
 * Writes a small Llama with random weights and the bundled tokenizer, the same bytes every time.
 *
 * @returns the folder
 */
export declare function writeTinyCheckpoint(folder: string): Promise<string>;
