import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { writeFileSync } from 'node:fs';
import { MemoryStore, TestAgent, agentFolder } from '../../../test/docker/agent.ts';
import { findPlanted } from '../../../test/servers/docker/find-planted.ts';
import { SecretError } from '../../core/errors.ts';
import type { AgentInfo } from '../agent-api.ts';

const canary = 'canary-7f3a-in-no-file';
let folder: string;
let removeFolder: () => void;
let store: MemoryStore;
let agent: TestAgent;

beforeEach(async () => {
  ({ folder, remove: removeFolder } = agentFolder());
  store = new MemoryStore();
  store.values.set('token', canary);
  store.values.set('my-app/db', JSON.stringify({ user: 'app', password: canary }));
  await start();
});
afterEach(async () => {
  await agent.stop(0);
  removeFolder();
});

async function start(config?: string): Promise<void> {
  agent = new TestAgent({ folder, store, ...(config !== undefined && { config }) });
  await agent.agent.start();
}

/** What the manager of a swarm sends for a task of the service `web`. */
const request = {
  SecretName: 'token',
  SecretLabels: {},
  ServiceID: 'ub7m12hgsfcq5955im24j1w82',
  ServiceName: 'web',
  ServiceLabels: {},
  TaskID: 'ybaj7sshjx6k8uwyvwglshihd',
  TaskName: 'web.1.ybaj7sshjx6k8uwyvwglshihd',
  TaskImage: 'web:1',
  NodeID: '4aytwhc91b442ef12auslo4pp',
};
const withRef = (reference: string) => ({ SecretLabels: { 'dso.ref': reference } });
const ofStack = (stack: string, service: string) => ({
  ServiceName: `${stack}_${service}`,
  ServiceLabels: { 'com.docker.stack.namespace': stack },
});

/** What the agent responds. */
type Answer = { readonly Err: string; readonly Value?: string };
const ask = async (changes: object = {}): Promise<Answer> =>
  agent.driver('SecretProvider.GetSecret', { ...request, ...changes });
const valueOf = async (changes: object = {}): Promise<string> => {
  const { Err, Value = '' } = await ask(changes);
  return Err === '' ? Buffer.from(Value, 'base64').toString() : `Err: ${Err}`;
};
const failures = async (): Promise<AgentInfo['swarmFailures']> =>
  ((await agent.control('GET', '/v1/info')).json as AgentInfo).swarmFailures;

describe("a swarm's secret", () => {
  test('has the value of the secret with its name, for one task', async () => {
    expect(await ask()).toEqual({
      ...{ Err: '', Value: Buffer.from(canary).toString('base64') },
      DoNotReuse: true,
    });
  });

  test.each([
    ['dso://my-app/db#password', canary],
    ['dso://vault/my-app/db#user', 'app'],
    ['dso://my-app/db', JSON.stringify({ user: 'app', password: canary })],
  ])('has what its label says: %s', async (reference, value) => {
    expect(await valueOf(withRef(reference))).toBe(value);
  });

  test('does not depend on how many labels the service has', async () => {
    expect(await valueOf({ ServiceLabels: { notes: 'x'.repeat(1_000_000) } })).toBe(canary);
  });

  test('keeps bytes that are no text', async () => {
    const bytes = Buffer.from([0, 255, 128, 10]);
    store.values.set('token', bytes);
    expect(Buffer.from((await ask()).Value ?? '', 'base64')).toEqual(bytes);
  });

  test('has the new value for the next task, after the refresh interval', async () => {
    await ask();
    store.values.set('token', 'new-value');
    expect(await valueOf()).toBe(canary);
    agent.clockOffset = 11_000;
    expect(await valueOf()).toBe('new-value');
  });

  test('has the last good value while the store is away', async () => {
    await ask();
    agent.tick();
    store.failure = new SecretError('STORE_UNAVAILABLE', 'the store is away');
    agent.clockOffset = 11_000;
    expect(await valueOf()).toBe(canary);
  });

  test('is in no file and in no log', async () => {
    await ask();
    await ask(withRef('dso://my-app/db#password'));
    store.failure = new SecretError('ACCESS_DENIED', 'the store refuses');
    agent.clockOffset = 11_000;
    await ask();
    writeFileSync(agent.path('log'), agent.lines.join(''));
    expect(agent.lines.length).toBeGreaterThan(3);
    expect(await findPlanted([canary], { directories: [folder] })).toEqual([]);
  });

  test('is logged with its service, source and version', async () => {
    await ask({ ...withRef('dso://my-app/db#password'), ...ofStack('shop', 'web') });
    expect(agent.lines.find((line) => line.includes('delivered to a swarm'))).toMatch(
      /"project":"shop","service":"web","secret":"token","task":"web\.1\.\w+","source":"dso:\/\/vault\/my-app\/db#password","version":"v\d+\+\w+"/,
    );
  });
});

describe("a grant of the host for a swarm's secret", () => {
  const grants = (text: string): string => `
providers: {vault: {type: vault, address: "https://vault:8200"}}
agent: {grants: [${text}]}
`;
  const restart = async (text: string): Promise<void> => {
    await agent.stop(0);
    await start(grants(text));
  };

  test('names the stack as the project, and the service without it', async () => {
    await restart('{projects: [shop], services: [web], paths: [token]}');
    expect(await valueOf(ofStack('shop', 'web'))).toBe(canary);
    expect(await valueOf(ofStack('shop', 'db'))).toBe(
      'Err: service shop/db may not read token of store vault: no grant of this host allows it; add a grant under agent.grants of /etc/dso/dso.yaml, and restart the agent',
    );
    expect(await valueOf(ofStack('other', 'web'))).toMatch(/^Err: service other\/web may not/);
    expect(await valueOf({ ...ofStack('shop', 'web'), ...withRef('dso://my-app/db') })).toMatch(
      /^Err: service shop\/web may not read my-app\/db /,
    );
  });

  test('names the service as the project if there is no stack', async () => {
    await restart('{projects: [web], paths: [token]}');
    expect(await valueOf()).toBe(canary);
    expect(await valueOf({ ServiceName: 'db' })).toMatch(/^Err: service db\/db may not read token/);
  });

  test('is not for a service whose name does not begin with the stack of its label', async () => {
    await restart('{projects: [shop], paths: [token]}');
    const changes = { ServiceLabels: { 'com.docker.stack.namespace': 'shop' } };
    expect(await valueOf(changes)).toMatch(/^Err: service web\/web may not read token/);
  });
});

describe('a failure', () => {
  test('says the cause and the remedy, until the secret can be read', async () => {
    const missing = { SecretName: 'missing', ...ofStack('shop', 'web') };
    expect(await ask(missing)).toEqual({ Err: 'there is no secret missing' });
    const failure = { code: 'OBJECT_NOT_FOUND', message: 'there is no secret missing' };
    expect(await failures()).toEqual([{ service: 'shop/web', secret: 'missing', failure }]);
    expect(agent.lines.join('')).toContain('"msg":"not delivered to a swarm"');
    store.values.set('missing', 'here');
    agent.clockOffset = 60_000;
    expect(await valueOf(missing)).toBe('here');
    expect(await failures()).toBeUndefined();
  });

  test.each([
    [
      'my-app/db',
      "the swarm's secret token has a wrong label dso.ref: a reference begins with dso://",
    ],
    [
      'dsofile://token',
      "the swarm's secret token has a wrong label dso.ref: a reference begins with",
    ],
    ['dso:///token', "the swarm's secret token has a wrong label dso.ref: a reference begins with"],
    ['dso://a/../b', "the swarm's secret token has a wrong label dso.ref: the path a/../b has"],
  ])('names the label %s', async (reference, message) => {
    expect((await ask(withRef(reference))).Err).toContain(message);
    expect(store.reads).toEqual([]);
  });

  test('names a label that dso does not know: it could say where the value is', async () => {
    expect((await ask({ SecretLabels: { 'dso.reference': 'dso://my-app/db' } })).Err).toBe(
      "the swarm's secret token has the label dso.reference, which dso does not know; write --label dso.ref=dso://path#field",
    );
    expect(await valueOf({ SecretLabels: { 'com.example.team': 'shop' } })).toBe(canary);
  });

  test('asks for a label where the host has several stores and no default', async () => {
    await agent.stop(0);
    const address = 'address: "https://vault:8200"';
    await start(`providers: {one: {type: vault, ${address}}, two: {type: vault, ${address}}}`);
    expect((await ask()).Err).toBe(
      "the swarm's secret token has no label dso.ref, and its name does not say enough: the reference names no store, and dso.yaml has several; write dso://one/token, or defaults.provider in dso.yaml",
    );
  });

  test('comes for sizes that a swarm does not take', async () => {
    store.values.set('token', 'x'.repeat(512_000));
    expect((await ask()).Err).toBe(
      "the swarm's secret token has 512000 bytes, and a swarm takes at most 511999; name a field, or store a smaller value",
    );
    store.values.set('full', 'x'.repeat(511_999));
    expect(await valueOf({ SecretName: 'full' })).toHaveLength(511_999);
    store.values.set('empty', '');
    expect((await ask({ SecretName: 'empty' })).Err).toBe(
      "the swarm's secret empty is empty in the store; a swarm takes no empty secret: store a value",
    );
  });

  test('comes for a credential with an end, which is given back', async () => {
    store.values.set('database/creds/app', () => 'made-for-one-read');
    expect((await ask(withRef('dso://database/creds/app'))).Err).toMatch(
      /database\/creds\/app is a credential with an end, and a swarm does not say when/,
    );
    expect(store.released).toEqual(['lease-1']);
    // The agent still keeps those of Compose.
    const ref = { path: 'database/creds/app' };
    await agent.register('shop', { app: { variables: [{ name: 'KEY', ref }] } });
    expect(await agent.mount('dso_shop.app', 'a')).toBe('');
  });

  test.each([
    { SecretName: undefined },
    { SecretName: '../token' },
    { SecretName: ['token'] },
    { SecretLabels: 'dso.ref' },
    { SecretLabels: ['dso.ref'] },
    { SecretLabels: { 'dso.ref': 7 } },
    { ServiceName: '' },
    { ServiceName: 'a'.repeat(256) },
    { ServiceLabels: null },
    { TaskName: 'a\nb' },
  ])('comes for a request that no manager sends: %j', async (changes) => {
    expect((await ask(changes)).Err).toMatch(
      /^the request has no valid \w+; only a container engine should call this socket$/,
    );
    expect(store.reads).toEqual([]);
  });
});
