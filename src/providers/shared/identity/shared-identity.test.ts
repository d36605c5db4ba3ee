import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { SecretError } from '../../../core/errors.ts';
import type { SharedIdentityMode } from '../../../core/provider.ts';
import { SharedIdentity, createSharedIdentityMetrics } from './shared-identity.ts';

const grant = (names: string, roles = ''): string => `grants:
  - provider: local
    namespaces: [shop]
    serviceAccounts: [web]
    names: [${names}]
    ${roles}
`;

let directory: string;
let file: string;
let clock: number;
let lines: { level: number; msg: string }[];
let registry: Registry;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'keyferry-grants-'));
  file = join(directory, 'grants.yaml');
  clock = 1_000_000;
  lines = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

function createChecker(mode: SharedIdentityMode, grantsFile?: string, chartValue?: string) {
  registry = new Registry();
  const sharedIdentity = new SharedIdentity({
    mode,
    grantsFile,
    chartValue,
    log: pino(
      {},
      { write: (line: string) => void lines.push(JSON.parse(line) as (typeof lines)[number]) },
    ),
    now: () => clock,
    metrics: createSharedIdentityMetrics(registry),
  });
  return (
    request: {
      namespace?: string;
      account?: string;
      provider?: string;
      name?: string;
      role?: string;
      method?: string;
      region?: string;
      endpoint?: string;
    } = {},
  ) => {
    const {
      namespace = 'shop',
      account = 'web',
      provider = 'local',
      name = 'eu/db',
      ...more
    } = request;
    const workload = { tenant: namespace, identity: { name: account } };
    try {
      sharedIdentity.check({ workload, provider, service: 'local', name, ...more });
      return 'granted';
    } catch (thrown) {
      if (!(thrown instanceof SecretError)) throw thrown;
      expect(thrown.code).toBe('NOT_GRANTED');
      return thrown.summary;
    }
  };
}

async function brokenMetric(): Promise<number | undefined> {
  const metric = await registry.getSingleMetric('keyferry_shared_identity_grants_broken')?.get();
  return metric?.values[0]?.value;
}

describe('granted, the default', () => {
  test('serves the secrets that a grant lists, to the workloads that it lists', () => {
    writeFileSync(file, grant('local/eu/*'));
    const check = createChecker('granted', file);
    expect(check()).toBe('granted');
    expect(check({ namespace: 'shop2' })).toContain('no grant matches');
    expect(check({ account: 'web2' })).toContain('no grant matches');
    expect(check({ provider: 'vault' })).toContain('no grant matches');
    expect(check({ name: 'eu/db/x' })).toContain('no grant matches');
  });

  test('names the workload, the secret and the remedies in a denial', () => {
    writeFileSync(file, grant('local/us/*'));
    expect(createChecker('granted', file)()).toBe(
      'local: service account shop/web may not read local/eu/db by a shared identity: no grant matches; ' +
        `grant it in ${file}, or give the workload an identity of its own`,
    );
    expect(createChecker('granted')()).toContain(
      'grant it in a file for --shared-identity-grants, or',
    );
  });

  test('denies everything without a file, and logs that at the start', () => {
    expect(createChecker('granted')()).toContain('no grant matches');
    expect(lines.map(({ msg }) => msg).join()).toContain('by their own identities only');
  });

  test('denies names with dot elements, and names that are too long', () => {
    writeFileSync(file, grant('local/**'));
    const check = createChecker('granted', file);
    expect(check({ name: 'eu/../us' })).toContain('never granted');
    expect(check({ name: './x' })).toContain('never granted');
    expect(check({ name: 'x'.repeat(5_000) })).toContain('never granted');
    expect(check({ name: 'a..b/...' })).toBe('granted');
  });

  test('requires the role in the same grant that matches the name', () => {
    writeFileSync(
      file,
      `${grant('local/eu/db', 'roles: [arn:x]')}${grant('local/us').replace('grants:\n', '')}`,
    );
    const check = createChecker('granted', file);
    expect(check({ role: 'arn:x' })).toBe('granted');
    expect(check({ role: 'arn:y' })).toContain('lists the role arn:y');
    expect(check({ name: 'us', role: 'arn:x' })).toContain('lists the role arn:x');
  });
});

describe('a method that may change something', () => {
  test('must be in the same grant that matches the name and the role', () => {
    writeFileSync(
      file,
      `${grant('local/eu/db', 'methods: [POST]')}${grant('local/us', 'roles: [arn:x]').replace('grants:\n', '')}`,
    );
    const check = createChecker('granted', file);
    expect(check({ method: 'GET' })).toBe('granted');
    expect(check({ method: 'POST' })).toBe('granted');
    expect(check({ method: 'PUT' })).toContain('no grant that matches lists the method PUT');
    expect(check({ name: 'us', method: 'POST' })).toContain('lists the method POST');
    expect(check({ name: 'us', role: 'arn:x', method: 'POST' })).toContain('lists the method POST');
  });

  test('needs a grant also in the mode all', () => {
    writeFileSync(file, grant('local/eu/*', 'methods: [POST]'));
    const check = createChecker('all', file);
    expect(check({ name: 'us', method: 'GET' })).toBe('granted');
    expect(check({ method: 'POST' })).toBe('granted');
    expect(check({ name: 'us', method: 'POST' })).toContain('lists the method POST');
  });
});

describe('a region or an endpoint that is not the operator’s', () => {
  test('must be in the same grant that matches the name', () => {
    writeFileSync(
      file,
      `${grant('local/eu/*', 'regions: [eu-*]')}${grant('local/us/*', "endpoints: ['*.example']").replace('grants:\n', '')}`,
    );
    const check = createChecker('granted', file);
    expect(check({ region: 'eu-1' })).toBe('granted');
    expect(check({ region: 'us-1' })).toContain('no grant that matches lists the region us-1');
    expect(check({ name: 'us/db', endpoint: 'kms.example' })).toBe('granted');
    expect(check({ name: 'us/db', endpoint: 'kms.evil' })).toContain('lists the endpoint kms.evil');
    expect(check({ name: 'us/db', region: 'eu-1' })).toContain('lists the region eu-1');
    expect(check({ endpoint: 'kms.example', region: 'eu-1' })).toContain('lists the endpoint');
  });

  test('needs no grant in the mode all', () => {
    expect(createChecker('all')({ region: 'us-1', endpoint: 'kms.example' })).toBe('granted');
  });
});

describe('the other modes', () => {
  test('all serves everything with a warning, but no role without a grant', () => {
    writeFileSync(file, grant('local/eu/*', 'roles: [arn:x]'));
    const check = createChecker('all', file);
    expect(check({ namespace: 'any', name: 'us/../x' })).toBe('granted');
    expect(check({ role: 'arn:x' })).toBe('granted');
    expect(check({ role: 'arn:y' })).toContain('lists the role arn:y');
    expect(lines.filter(({ level }) => level === 40)).toHaveLength(1);
    expect(createChecker('all')({ role: 'arn:x' })).toContain('lists the role arn:x');
  });

  test('names the values of the chart where the chart runs Keyferry', () => {
    writeFileSync(file, grant('local/us/*'));
    expect(createChecker('granted', file, 'sharedIdentities')()).toContain(
      'grant it in the chart value sharedIdentities.grants, or give',
    );
    expect(createChecker('none', file, 'keyferry.sharedIdentities')()).toContain(
      'or set the chart value keyferry.sharedIdentities.mode to granted',
    );
  });

  test('none serves nothing, also with a grants file', () => {
    writeFileSync(file, grant('local/**'));
    expect(createChecker('none', file)()).toContain(
      '--shared-identities none; give the workload an identity of its own, or start Keyferry with --shared-identities granted',
    );
  });
});

describe('the file', () => {
  test('takes effect within a second after a change', () => {
    writeFileSync(file, grant('local/eu/db'));
    const check = createChecker('granted', file);
    writeFileSync(file, grant('local/us/db'));
    clock += 999;
    expect(check()).toBe('granted');
    clock += 1;
    expect(check()).toContain('no grant matches');
    expect(check({ name: 'us/db' })).toBe('granted');
  });

  test('is read through the changed links of a ConfigMap', () => {
    for (const [name, secret] of [
      ['one', 'local/eu/db'],
      ['two', 'local/us/db'],
    ] as const) {
      mkdirSync(join(directory, name));
      writeFileSync(join(directory, name, 'grants.yaml'), grant(secret));
    }
    symlinkSync('one', join(directory, '..data'));
    symlinkSync('..data/grants.yaml', file);
    const check = createChecker('granted', file);
    symlinkSync('two', join(directory, '..new'));
    renameSync(join(directory, '..new'), join(directory, '..data'));
    clock += 1_000;
    expect(check()).toContain('no grant matches');
  });

  test.each([
    ['malformed', () => writeFileSync(file, 'grants: [{}]')],
    ['empty', () => writeFileSync(file, '')],
    ['gone', () => rmSync(file)],
    ['a directory', () => (rmSync(file), mkdirSync(file))],
    ['too large', () => writeFileSync(file, '#'.repeat(1024 * 1024 + 1))],
  ])(
    '%s: an error at the start; later the last valid grants stay, with one log line and a metric',
    async (_, breakFile) => {
      const text = grant('local/eu/db');
      writeFileSync(file, text);
      const check = createChecker('granted', file);
      expect(await brokenMetric()).toBe(0);
      lines = [];
      breakFile();
      for (let second = 0; second < 3; second += 1) {
        clock += 1_000;
        expect(check()).toBe('granted');
        expect(check({ name: 'us/db' })).toContain('no grant matches');
      }
      expect(
        lines.map(({ level, msg }) => [level, msg.endsWith('the last good grants stay in force')]),
      ).toEqual([[50, true]]);
      expect(await brokenMetric()).toBe(1);
      expect(() => createChecker('granted', file)).toThrow(
        expect.objectContaining({ code: 'NOT_CONFIGURED' }),
      );
    },
  );

  test('takes effect again after a repair, also with unchanged content', async () => {
    writeFileSync(file, grant('local/eu/db'));
    const check = createChecker('granted', file);
    for (const [text, state] of [
      ['broken', 1],
      [grant('local/eu/db'), 0],
    ] as const) {
      writeFileSync(file, text);
      clock += 1_000;
      expect(check()).toBe('granted');
      expect(await brokenMetric()).toBe(state);
    }
  });
});
