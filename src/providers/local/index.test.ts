import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Plan } from '../../core/plan.ts';
import type { Workload } from '../../core/workload.ts';
import { SecretError } from '../../core/errors.ts';
import { createFingerprint } from '../shared/identity/fingerprint.ts';
import type { FetchResult, Grant } from '../../core/provider.ts';
import { SharedIdentity } from '../shared/identity/shared-identity.ts';
import { addVersion, removeVersions } from './store/history.ts';
import { createLocalProvider } from './index.ts';
import type { LocalLogin } from './class.ts';
import { StoreWriter } from './store/writer.ts';
import { runSteps } from '../../core/steps.ts';

const canary = 'canary-91aa';
const workload: Workload = {
  tenant: 'shop',
  identity: { name: 'web' },
  instance: 'uid',
  volume: 'uid/x',
  tokens: new Map(),
  secrets: new Map(),
};
const authorizeContext = { signal: new AbortController().signal, notBefore: 0 };

let directory: string;
let files: { storeFile: string; keyFile: string };
let writer: StoreWriter;
let clock: number;
let lines: string[];

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'keyferry-local-'));
  files = { storeFile: join(directory, 'store.age'), keyFile: join(directory, 'store.key') };
  writer = new StoreWriter(files);
  clock = Date.now();
  lines = [];
  await writer.init();
  await set('eu/db', canary);
});
afterEach(() => rmSync(directory, { recursive: true }));

async function set(name: string, value: string): Promise<void> {
  await writer.change((document) =>
    addVersion(document, name, Buffer.from(value), new Date().toISOString()),
  );
}

const fingerprint = createFingerprint();
function start(names = '["local/**"]') {
  const grantsFile = join(directory, 'grants.yaml');
  writeFileSync(
    grantsFile,
    `grants: [{provider: local, namespaces: [shop], serviceAccounts: [web], names: ${names}}]`,
  );
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const now = (): number => clock;
  const sharedIdentity = new SharedIdentity({ mode: 'granted', grantsFile, log, now });
  return createLocalProvider({ ...files, sharedIdentity, fingerprint, now, log });
}
type TestProvider = ReturnType<typeof start>;

function plan(provider: TestProvider, objects: string): Plan<LocalLogin> {
  const { plan, problems } = runSteps(provider.plan({ objects }));
  expect(problems).toEqual([]);
  return plan!;
}

const fetchAll = async (
  provider: TestProvider,
  grants: readonly Grant<undefined>[],
  signal = authorizeContext.signal,
): Promise<readonly FetchResult[]> =>
  Promise.all(
    provider.fetch(
      grants.map((grant) => ({ grant, urgency: 'first', signal, onStart: () => undefined })),
    ),
  );

async function read(provider: TestProvider, objects: string): Promise<readonly FetchResult[]> {
  return fetchAll(
    provider,
    await provider.authorize(workload, plan(provider, objects), authorizeContext),
  );
}

describe('provider local', () => {
  test('warns at start where there is no store', () => {
    start();
    expect(lines).toEqual([]);
    rmSync(files.storeFile);
    start();
    expect(lines.join()).toMatch(/"storeFile":".*store\.age","msg":"there is no local store/);
  });

  test('serves granted secrets: the latest version, or a pinned one that never changes', async () => {
    await set('eu/db', 'two');
    const results = await read(
      start(),
      '- objectName: eu/db\n- {objectName: eu/db, objectVersion: v1, objectAlias: old}',
    );
    expect(results).toEqual([
      { kind: 'value', value: { bytes: Buffer.from('two'), version: 'v2' } },
      { kind: 'value', value: { bytes: Buffer.from(canary), version: 'v1', immutable: true } },
    ]);
  });

  test('denies the class for one secret that is not granted, without opening the store', async () => {
    const provider = start('[local/eu/*]');
    rmSync(files.storeFile);
    await expect(
      provider.authorize(
        workload,
        plan(provider, '- objectName: eu/db\n- objectName: us/db'),
        authorizeContext,
      ),
    ).rejects.toMatchObject({
      code: 'NOT_GRANTED',
      message: expect.stringContaining('local/us/db'),
    });
  });

  test('reports a removed secret as absent, with the command that sets it, and then serves a new version', async () => {
    const provider = start();
    await writer.change((document) => ({ document: removeVersions(document, 'eu/db') }));
    const objects =
      '- objectName: eu/db\n- {objectName: eu/db, objectVersion: v1, objectAlias: old}';
    for (const result of await read(provider, objects)) {
      expect(result).toMatchObject({
        kind: 'absent',
        error: {
          code: 'OBJECT_NOT_FOUND',
          hint: '`keyferry local list` has the names, `keyferry local set eu/db` makes it',
        },
      });
    }
    await set('eu/db', 'again');
    expect((await read(provider, objects)).map(({ kind }) => kind)).toEqual(['value', 'absent']);
  });

  test('fails each read but authorizes workloads while the store cannot be read, and then recovers', async () => {
    const provider = start();
    await read(provider, '- objectName: eu/db');
    rmSync(files.storeFile);
    clock += 1_000;
    const grants = await provider.authorize(
      workload,
      plan(provider, '- objectName: eu/db'),
      authorizeContext,
    );
    expect(await fetchAll(provider, [...grants, ...grants])).toEqual([
      {
        kind: 'failed',
        error: expect.objectContaining({ code: 'LOCAL_STORE_UNREADABLE', kind: 'outage' }),
      },
      { kind: 'failed', error: expect.objectContaining({ code: 'LOCAL_STORE_UNREADABLE' }) },
    ]);
    await writer.init();
    await set('eu/db', 'new');
    expect(await fetchAll(provider, grants)).toMatchObject([
      { kind: 'value', value: { version: 'v1' } },
    ]);
  });

  test("ends a request with its signal's reason when its caller has left", async () => {
    const provider = start();
    const grants = await provider.authorize(
      workload,
      plan(provider, '- objectName: eu/db'),
      authorizeContext,
    );
    const abortedSignal = AbortSignal.abort(new SecretError('CANCELLED', 'left'));
    expect(await fetchAll(provider, grants, abortedSignal)).toMatchObject([
      { kind: 'failed', error: { code: 'CANCELLED' } },
    ]);
  });

  test('has one shared principal, which changes with the store and with the key', async () => {
    const provider = start();
    const principal = async () => {
      clock += 1_000;
      const [grant] = await provider.authorize(
        workload,
        plan(provider, '- objectName: eu/db'),
        authorizeContext,
      );
      expect(grant).toMatchObject({ scope: 'principal', principal: { kind: 'shared' } });
      return grant!.principal.fingerprint;
    };
    const before = await principal();
    await set('eu/db', 'two');
    expect(await principal()).toBe(before);
    await writer.rotateKey();
    const rotated = await principal();
    expect(rotated).not.toBe(before);
    await writer.rotateKey();
    // Also after the clock was set back.
    clock -= 3_600_000;
    expect(await principal()).not.toBe(rotated);
  });

  test('warns once about a key that others may read', async () => {
    chmodSync(files.keyFile, 0o644);
    const provider = start();
    for (let mount = 0; mount < 3; mount += 1) {
      clock += 1_000;
      await read(provider, '- objectName: eu/db');
    }
    expect(lines.filter((line) => line.includes('make its mode 0600'))).toHaveLength(1);
    expect(lines.join('')).not.toContain(canary);
  });

  test('needs no facts of the node, and opens no file before the first mount', async () => {
    rmSync(files.storeFile);
    rmSync(files.keyFile);
    const provider = start();
    expect(provider.name).toBe('local');
    const { signal } = authorizeContext;
    const facts = await provider.nodeFacts({}, { signal, run: async (steps) => runSteps(steps) });
    expect(facts).toBeUndefined();
    await expect(read(provider, '- objectName: eu/db')).rejects.toMatchObject({
      code: 'LOCAL_STORE_UNREADABLE',
    });
  });
});
