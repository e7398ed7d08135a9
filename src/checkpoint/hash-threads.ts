import { Worker } from 'node:worker_threads';

/** Bytes of an open file. */
export interface FileRange {
  readonly descriptor: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** More of them wait for the disk, or for each other. */
const MOST_THREADS = 4;

interface Job {
  readonly range: FileRange;
  resolve(sha256: string): void;
  reject(error: Error): void;
}

type Answer = { readonly sha256: string } | { readonly problem: string };

/**
 * Hashes ranges of files on threads of its own: sha256 is slower than most disks. They are started when they are
 * wanted, do not keep the process alive, and last until `close`.
 */
export class HashThreads {
  readonly #most: number;
  readonly #waiting: Job[] = [];
  readonly #idle: Worker[] = [];
  readonly #jobs = new Map<Worker, Job>();

  constructor(threads: number) {
    this.#most = Math.max(1, Math.min(threads, MOST_THREADS));
  }

  /**
   * sha256 (hex) of a range; the file must stay open meanwhile.
   *
   * @throws Error when it cannot be read to its end
   */
  sha256(range: FileRange): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ range, resolve, reject });
      this.#next();
    });
  }

  /** Ends the threads; what is not hashed by then is rejected. */
  async close(): Promise<void> {
    const threads = [...this.#idle.splice(0), ...this.#jobs.keys()];
    const jobs = [...this.#waiting.splice(0), ...this.#jobs.values()];
    this.#jobs.clear();
    for (const { reject } of jobs) reject(new Error('the threads were ended'));
    await Promise.all(threads.map((thread) => thread.terminate()));
  }

  #next(): void {
    const job = this.#waiting[0];
    const worker = job && (this.#idle.pop() ?? this.#start());
    if (!job || !worker) return;
    this.#waiting.shift();
    this.#jobs.set(worker, job);
    worker.ref();
    worker.postMessage(job.range);
  }

  /** @returns undefined where there are enough */
  #start(): Worker | undefined {
    if (this.#jobs.size >= this.#most) return undefined;
    // From its text, so that it runs from the bundle and from the sources alike; without this process's own flags,
    // of which --input-type would make it a module.
    const worker = new Worker(`(${serve})(require)`, { eval: true, execArgv: [] });
    worker.on('message', (answer: Answer) => {
      const job = this.#jobs.get(worker);
      this.#jobs.delete(worker);
      this.#idle.push(worker);
      worker.unref();
      if ('sha256' in answer) job?.resolve(answer.sha256);
      else job?.reject(new Error(answer.problem));
      this.#next();
    });
    worker.on('error', (error) => {
      this.#jobs.get(worker)?.reject(error);
      this.#jobs.delete(worker);
      this.#next();
    });
    return worker;
  }
}

/** The life of a thread. It is run from its text: nothing outside it is there. */
function serve(require: NodeJS.Require): void {
  const { createHash } = require('node:crypto') as typeof import('node:crypto');
  const { readSync } = require('node:fs') as typeof import('node:fs');
  const { parentPort } = require('node:worker_threads') as typeof import('node:worker_threads');
  const piece = Buffer.allocUnsafe(2 ** 19); // stays in the processor's cache
  const hashOf = ({ descriptor, offset, sizeBytes }: FileRange): string => {
    const hash = createHash('sha256');
    for (let done = 0; done < sizeBytes; ) {
      const wanted = Math.min(piece.length, sizeBytes - done);
      const count = readSync(descriptor, piece, 0, wanted, offset + done);
      if (count === 0) throw new Error(`expected ${sizeBytes} bytes, got ${done}`);
      hash.update(count < piece.length ? piece.subarray(0, count) : piece);
      done += count;
    }
    return hash.digest('hex');
  };
  parentPort?.on('message', (range: FileRange) => {
    try {
      parentPort.postMessage({ sha256: hashOf(range) });
    } catch (error) {
      parentPort.postMessage({ problem: (error as Error).message });
    }
  });
}
