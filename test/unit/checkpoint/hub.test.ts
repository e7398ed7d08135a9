import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { downloadDatasetFile, resolveModel } from '../../../src/checkpoint/hub.js';
import { hubSettings } from '../../../src/checkpoint/hub-settings.js';
import { type HubOptions, startHub } from '../../helpers/hub-server.js';
import { temporaryFolder } from '../../helpers/temporary-folder.js';

const weights = Buffer.alloc(100_000, 'weights');
const files = {
  'config.json': '{}',
  'tokenizer.json': '{"a":1}',
  'chat_template.jinja': 'x',
  'model.safetensors': weights,
  'model.fp16.safetensors': 'another variant',
  'pytorch_model.bin': 'pickle',
  'README.md': '# card',
  'onnx/model.json': '{}',
};
const wanted = ['chat_template.jinja', 'config.json', 'model.safetensors', 'tokenizer.json'];
const lfs = ['model.safetensors'];

let home: string;
beforeEach(({ onTestFinished }) => {
  home = temporaryFolder();
  for (const name of [
    'HF_HUB_CACHE',
    'HUGGINGFACE_HUB_CACHE',
    'HF_TOKEN',
    'HF_TOKEN_PATH',
    'HF_HUB_OFFLINE',
  ]) {
    vi.stubEnv(name, '');
  }
  vi.stubEnv('HF_HOME', home);
  vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:1');
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
});

async function start(options: Partial<HubOptions> = {}) {
  const hub = await startHub({ files, lfs, ...options });
  vi.stubEnv('HF_ENDPOINT', `${hub.url}/`);
  return hub;
}

describe('a model of the hub', () => {
  test('comes into the cache as the Python library lays it out, only the files that are needed', async () => {
    const hub = await start();
    const seen = new Map<string, number>();
    const folder = await resolveModel('org/name', {
      onProgress: ({ file, receivedBytes, totalBytes }) =>
        seen.set(file, receivedBytes / totalBytes),
    });
    const repo = join(home, 'hub', 'models--org--name');
    expect(folder).toBe(join(repo, 'snapshots', hub.commit));
    expect(readFileSync(join(repo, 'refs', 'main'), 'utf8')).toBe(hub.commit);
    expect(readdirSync(folder).sort()).toEqual(wanted);
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    const link = readlinkSync(join(folder, 'model.safetensors'));
    expect(link).toMatch(/^\.\.\/\.\.\/blobs\/[\da-f]{64}$/);
    expect(readlinkSync(join(folder, 'config.json'))).toMatch(/^\.\.\/\.\.\/blobs\/[\da-f]{40}$/);
    expect(readdirSync(join(repo, 'blobs'))).toHaveLength(wanted.length);
    expect([...seen]).toEqual(expect.arrayContaining(wanted.map((name) => [name, 1])));
    expect(await resolveModel(`org/name@${hub.commit}`)).toBe(folder);
    expect(hub.transfers).toHaveLength(wanted.length); // nothing twice
  });

  test('goes on by itself after a cut connection, from where it was', async () => {
    const hub = await start({ cut: { afterBytes: 30_000, times: 2 } });
    const folder = await resolveModel('org/name');
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    const [first, ...later] = hub.transfers.filter((line) => line.includes('model.safetensors'));
    expect(first).toBe('GET model.safetensors whole');
    expect(later.length).toBe(2);
    for (const line of later) expect(line).toMatch(/bytes=[1-9]\d*-/);
  });

  test('resumes in a later run', async () => {
    const cut = { afterBytes: 10_000, times: 5 };
    const hub = await start({ cut });
    await expect(resolveModel('org/name')).rejects.toThrow(
      /connection broke 5 times .* goes on from where it was/,
    );
    const blobs = join(home, 'hub', 'models--org--name', 'blobs');
    const [partial] = readdirSync(blobs).filter((name) => name.endsWith('.incomplete'));
    const { size } = lstatSync(join(blobs, partial as string));
    expect(size).toBeGreaterThan(0);
    hub.transfers.length = 0;
    const whole = readFileSync(join(await resolveModel('org/name'), 'model.safetensors'));
    expect(whole.equals(weights)).toBe(true);
    expect(hub.transfers).toContain(`GET model.safetensors bytes=${size}-`);
    expect(readdirSync(blobs).some((name) => name.endsWith('.incomplete'))).toBe(false);
  });

  test('is read from the cache offline, and where the hub cannot be reached', async () => {
    const hub = await start();
    const folder = await resolveModel('org/name');
    await hub.close();
    expect(await resolveModel('org/name')).toBe(folder);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await resolveModel('org/name')).toBe(folder);
    await expect(resolveModel('org/other')).rejects.toThrow(
      /org\/other: is not in the cache \(.*hub\) and HF_HUB_OFFLINE is set; .*`hf download org\/other`/,
    );
    await expect(resolveModel('org/name@v2')).rejects.toThrow(
      /hf download org\/name --revision v2/,
    );
  });

  test('a changed file is refused', async () => {
    await start({ tampered: { 'config.json': '[]' } });
    await expect(resolveModel('org/name')).rejects.toThrow(
      /config\.json: expected content with digest/,
    );
    await start({ tampered: { 'config.json': '{"longer":1}' } });
    await expect(resolveModel('org/name')).rejects.toThrow(/expected 2 bytes, got more/);
  });

  test('HF_TOKEN is sent', async () => {
    await start({ token: 'hf_abc' });
    await expect(resolveModel('org/name')).rejects.toThrow(
      /org\/name: there is no such model, or it is private: set HF_TOKEN/,
    );
    vi.stubEnv('HF_TOKEN', 'hf_abc');
    expect(readdirSync(await resolveModel('org/name'))).toHaveLength(wanted.length);
  });

  test.each([
    [404, /no such model, or it has no revision 'main'/],
    [403, /access is refused/],
    [500, /cannot be reached/],
  ])('HTTP %d', async (status, message) => {
    await start({ status });
    await expect(resolveModel('org/name')).rejects.toMatchObject({
      code: 'checkpoint',
      message: expect.stringMatching(message),
    });
  });

  test('a revision that is not there, and a repository that is not there', async () => {
    await start();
    await expect(resolveModel('org/name@v9')).rejects.toThrow(/no revision 'v9'/);
    await expect(resolveModel('org/other')).rejects.toThrow(/org\/other: there is no such model/);
  });

  test('only pickled weights', async () => {
    await start({ files: { 'config.json': '{}', 'pytorch_model.bin': 'x' } });
    await expect(resolveModel('org/name')).rejects.toThrow(
      /found only pytorch_model\.bin: pickled weights can run code/,
    );
  });
});

describe('a file of a dataset', () => {
  const path = 'data/validation-00000-of-00001.parquet';

  test('is downloaded, and found offline', async () => {
    const hub = await start({ type: 'dataset', files: { [path]: 'PAR1' }, lfs: [path] });
    const file = await downloadDatasetFile('org/name', path);
    expect(file).toBe(join(home, 'hub', 'datasets--org--name', 'snapshots', hub.commit, path));
    expect(readFileSync(file, 'utf8')).toBe('PAR1');
    await hub.close();
    vi.stubEnv('HF_HUB_OFFLINE', 'true');
    expect(await downloadDatasetFile('org/name', path)).toBe(file);
    await expect(downloadDatasetFile('org/name', 'b.parquet')).rejects.toThrow(
      /`hf download org\/name b\.parquet --repo-type dataset`/,
    );
  });

  test('that is not there', async () => {
    await start({ type: 'dataset', files: {} });
    await expect(downloadDatasetFile('org/name', path)).rejects.toThrow(`holds no ${path}`);
  });
});

describe('without the network', () => {
  test('a folder is its own', async () => {
    mkdirSync(join(home, 'model'));
    expect(await resolveModel(join(home, 'model'))).toBe(join(home, 'model'));
    writeFileSync(join(home, 'file'), '');
    await expect(resolveModel(join(home, 'file'))).rejects.toThrow(/this is a file/);
  });

  test.each([
    '/tmp/nowhere/at/all',
    './org/name',
    '../name',
    'nowhere',
    'a/b/c',
    '~/model',
    'C:\\model',
    'org/name@../x',
    '',
  ])('what is neither a folder nor a hub id is named: %s', async (model) => {
    await expect(resolveModel(model)).rejects.toMatchObject({
      code: 'checkpoint',
      message: expect.stringContaining(`${model}: expected a model's folder or a hub id`),
    });
  });

  test('a hub that does not answer', async () => {
    await expect(resolveModel('org/name')).rejects.toThrow(
      /org\/name: is not in the cache .* http:\/\/127\.0\.0\.1:1 cannot be reached/,
    );
  });
});

test('settings come from the variables that Hugging Face tools read', () => {
  expect(hubSettings({ HF_HOME: '/h' })).toEqual({
    url: 'https://huggingface.co',
    cache: '/h/hub',
    token: undefined,
    isOffline: false,
  });
  const all = {
    HF_HOME: '/h',
    HF_HUB_CACHE: '/c',
    HF_ENDPOINT: 'http://x/',
    HF_TOKEN: ' t\n',
    HF_HUB_OFFLINE: 'ON',
  };
  expect(hubSettings(all)).toEqual({ url: 'http://x', cache: '/c', token: 't', isOffline: true });
  writeFileSync(join(home, 'token'), 'stored\n');
  expect(hubSettings({ HF_HOME: home }).token).toBe('stored');
  expect(hubSettings({ XDG_CACHE_HOME: '/x', HF_TOKEN: 't' }).cache).toBe('/x/huggingface/hub');
});
