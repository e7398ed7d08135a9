import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

const COMMIT = 'a'.repeat(40);

/** What a test tells its hub. */
export interface HubOptions {
  /** Files of the one repository; names under `lfs` carry a sha256. */
  readonly files: Readonly<Record<string, string | Uint8Array>>;
  readonly lfs?: readonly string[];
  /** The repository; `org/name` by default. */
  readonly name?: string;
  /** 'model' (by default) or 'dataset'. */
  readonly type?: 'model' | 'dataset';
  /** The request must carry this token. */
  readonly token?: string;
  /** Ends the connection after so many bytes of a file, this many times. */
  cut?: { afterBytes: number; times: number };
  /** Serves these bytes instead of a file's. */
  readonly tampered?: Readonly<Record<string, string>>;
  /** The answer to everything. */
  readonly status?: number;
}

/** A local server that speaks the part of the hub's API that downloads use. */
export interface HubServer {
  readonly url: string;
  readonly commit: string;
  /** 'GET path range' of every request for a file. */
  readonly transfers: string[];
  close(): Promise<void>;
}

/** Starts a hub with one repository; it ends with the test. */
export async function startHub(options: HubOptions): Promise<HubServer> {
  const transfers: string[] = [];
  const server = createServer((request, response) => {
    answer(request, response, { ...options, transfers, options }).catch(() => response.destroy());
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  onTestFinished(close);
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, commit: COMMIT, transfers, close };
}

type Context = HubOptions & { transfers: string[]; options: HubOptions };

async function answer(request: IncomingMessage, response: ServerResponse, context: Context) {
  const path = decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname);
  const type = context.type ?? 'model';
  const json = (status: number, body: unknown) => {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  if (context.status) return json(context.status, { error: 'no' });
  if (context.token && request.headers.authorization !== `Bearer ${context.token}`) {
    return json(401, { error: 'Invalid username or password.' });
  }
  const repo = context.name ?? 'org/name';
  const api = `/api/${type}s/${repo}`;
  if (path === `${api}/revision/main` || path === `${api}/revision/${COMMIT}`) {
    return json(200, { _id: '1', id: repo, sha: COMMIT, lastModified: 0 });
  }
  const entries = Object.entries(context.files).map(([name, data]) => entryOf(name, data, context));
  if (path === `${api}/tree/${COMMIT}`) return json(200, entries);
  if (path === `${api}/paths-info/${COMMIT}`) {
    const { paths } = JSON.parse(await bodyOf(request));
    return json(
      200,
      entries.filter((entry) => paths.includes(entry.path)),
    );
  }
  const prefix = `${type === 'model' ? '' : '/datasets'}/${repo}/resolve/${COMMIT}/`;
  const name = path.slice(prefix.length);
  if (!path.startsWith(prefix) || context.files[name] === undefined) {
    return json(404, { error: 'Repository not found' });
  }
  send(request, response, { name, context });
}

/** As the tree API lists a file: git's sha1, and the sha256 of large files. */
function entryOf(path: string, data: string | Uint8Array, { lfs }: HubOptions) {
  const bytes = Buffer.from(data as string);
  const oid = createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
  const entry = { type: 'file', path, size: bytes.length, oid };
  if (!lfs?.includes(path)) return entry;
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { ...entry, lfs: { oid: sha256, size: bytes.length, pointerSize: 130 } };
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { name, context }: { name: string; context: Context },
) {
  const whole = Buffer.from((context.tampered?.[name] ?? context.files[name]) as string);
  const { range } = request.headers;
  context.transfers.push(`${request.method} ${name} ${range ?? 'whole'}`);
  const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  const rest = whole.subarray(start);
  const headers = { 'Content-Length': rest.length };
  if (range)
    response.writeHead(206, {
      ...headers,
      'Content-Range': `bytes ${start}-${whole.length - 1}/${whole.length}`,
    });
  else response.writeHead(200, headers);
  const { cut } = context.options;
  if (!cut || cut.times === 0 || rest.length <= cut.afterBytes) return response.end(rest);
  cut.times--;
  // What a client has not read yet when the connection breaks is lost to it.
  response.write(rest.subarray(0, cut.afterBytes), () => {
    setTimeout(() => response.destroy(), 60);
  });
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of request) body += chunk;
  return body;
}
