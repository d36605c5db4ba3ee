import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { startFakeKubernetes, type FakeKubernetes } from '../../test/fakes/kubernetes.ts';
import { SecretError } from '../core/errors.ts';
import { createHttpClient } from '../http/client.ts';
import { createKubeApi } from './api.ts';
import { Nodes } from './nodes.ts';

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
  nodes = new Nodes({ api: createKubeApi({ http, server, tokenFile, caFile }) });
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
  test('is its label, and is read once', async () => {
    expect(await Promise.all([regionOf(), regionOf(), regionOf()])).toEqual([
      'eu-west-1',
      'eu-west-1',
      'eu-west-1',
    ]);
    expect(await regionOf()).toBe('eu-west-1');
    expect(kubernetes.nodeReads()).toBe(1);
  });

  test('of a missing node, or one without the label, is an error that is not cached', async () => {
    expect(await regionOf('other')).toBe('NOT_CONFIGURED: the node other does not exist');
    kubernetes.nodes.set('other', {});
    expect(await regionOf('other')).toBe(
      'NOT_CONFIGURED: the node other has no label topology.kubernetes.io/region',
    );
    kubernetes.nodes.set('other', { ...labels, 'topology.kubernetes.io/region': 'us-east-1' });
    expect(await regionOf('other')).toBe('us-east-1');
  });

  test('that Keyferry may not read names the missing permission', async () => {
    kubernetes.deny(true);
    expect(await regionOf()).toMatch(
      /^ADMISSION_UNAVAILABLE: Keyferry may not read the node ip-.*: .*forbidden.*; give its ClusterRole the verb get for nodes/,
    );
  });

  test('is ADMISSION_UNAVAILABLE in an outage or for an invalid response', async () => {
    kubernetes.injectFault({ response: { status: 401, body: 'x' } });
    expect(await regionOf()).toMatch(/^ADMISSION_UNAVAILABLE: the node ip-.* cannot be read/);
    kubernetes.injectFault({
      response: { body: { metadata: { labels: { [Object.keys(labels)[0]!]: 7 } } } },
    });
    expect(await regionOf()).toMatch(/^ADMISSION_UNAVAILABLE: .*the response is not a Node/);
  });

  test('stops waiting when the caller cancels', async () => {
    kubernetes.injectFault({ hang: true });
    const reason = new SecretError('CANCELLED', 'left');
    const caller = new AbortController();
    const region = regionOf(undefined, caller.signal);
    setTimeout(() => caller.abort(reason), 5);
    expect(await region).toBe('CANCELLED: left');
  });
});
