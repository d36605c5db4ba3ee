import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startFakeKubernetes, type FakeKubernetes } from '../../test/fakes/kubernetes.ts';
import { SecretError } from '../core/errors.ts';
import { createHttpClient } from '../http/client.ts';
import { createKubeApi } from './api.ts';
import { createNodes, type Nodes } from './nodes.ts';

const neverAborted = new AbortController().signal;
const labels = { 'topology.kubernetes.io/region': 'eu-west-1' };
let kubernetes: FakeKubernetes;
let nodes: Nodes;
let http: ReturnType<typeof createHttpClient>;

beforeEach(async () => {
  kubernetes = await startFakeKubernetes();
  kubernetes.nodes.set('ip-10-0-0-1.eu-west-1.compute.internal', labels);
  http = createHttpClient();
  const { server, tokenFile, caFile } = kubernetes;
  nodes = createNodes({ api: createKubeApi({ http, server, tokenFile, caFile }) });
});
afterEach(async () => {
  await http.close();
  await kubernetes.close();
});

async function regionOf(
  node = 'ip-10-0-0-1.eu-west-1.compute.internal',
  signal = neverAborted,
): Promise<string> {
  return nodes.region(node, signal).catch((error: unknown) => {
    if (error instanceof SecretError) return `${error.code}: ${error.summary}`;
    throw error;
  });
}

describe("a node's region", () => {
  test('is its label, and is asked for once', async () => {
    expect(await Promise.all([regionOf(), regionOf(), regionOf()])).toEqual([
      'eu-west-1',
      'eu-west-1',
      'eu-west-1',
    ]);
    expect(await regionOf()).toBe('eu-west-1');
    expect(kubernetes.nodeReads()).toBe(1);
  });

  test('of no such node, or one without the label, is an error that is not remembered', async () => {
    expect(await regionOf('other')).toBe('NOT_CONFIGURED: the node other does not exist');
    kubernetes.nodes.set('other', {});
    expect(await regionOf('other')).toBe(
      'NOT_CONFIGURED: the node other has no label topology.kubernetes.io/region',
    );
    kubernetes.nodes.set('other', { ...labels, 'topology.kubernetes.io/region': 'us-east-1' });
    expect(await regionOf('other')).toBe('us-east-1');
  });

  test('that Keyferry may not read: the right that is missing', async () => {
    kubernetes.deny(true);
    expect(await regionOf()).toMatch(
      /^ADMISSION_UNAVAILABLE: Keyferry may not read the node ip-.*: .*forbidden.*; give its ClusterRole the verb get for nodes/,
    );
  });

  test('that nobody tells, or not in words we know', async () => {
    kubernetes.injectFault({ response: { status: 401, body: 'x' } });
    expect(await regionOf()).toMatch(/^ADMISSION_UNAVAILABLE: the node ip-.* cannot be read/);
    kubernetes.injectFault({
      response: { body: { metadata: { labels: { [Object.keys(labels)[0]!]: 7 } } } },
    });
    expect(await regionOf()).toMatch(/^ADMISSION_UNAVAILABLE: .*what came is no Node/);
  });

  test('is not waited for longer than the caller does', async () => {
    kubernetes.injectFault({ hang: true });
    const left = new SecretError('CANCELLED', 'left');
    const caller = new AbortController();
    const asked = regionOf(undefined, caller.signal);
    setTimeout(() => caller.abort(left), 5);
    expect(await asked).toBe('CANCELLED: left');
  });
});
