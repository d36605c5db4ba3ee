import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTestCa } from './tls.ts';

type Watch = { readonly response: ServerResponse; readonly node: string };
type Pod = { readonly uid: string; readonly node: string; version: number };

const token = 'a-token';
const selector = /^spec\.nodeName=([a-z0-9-]+),status\.phase!=Succeeded,status\.phase!=Failed$/;

/** An API server over plain HTTP that lists and watches the pods of nodes, as metadata only. */
export async function startFakePods() {
  const directory = await mkdtemp(join(tmpdir(), 'fake-pods-'));
  const [tokenFile, caFile] = [join(directory, 'token'), join(directory, 'ca.crt')];
  await Promise.all([writeFile(tokenFile, token), writeFile(caFile, createTestCa().cert)]);
  const pods = new Map<string, Pod>();
  const watches = new Set<Watch>();
  const events: { readonly version: number; readonly node: string; readonly line: string }[] = [];
  const count = { lists: 0, watches: 0 };
  const watchedFrom: string[] = [];
  const injectedFaults = { denied: false, expired: false, response: '' };
  let version = 1;

  const metadataOf = ({ uid, version: resourceVersion }: Pod): object => ({
    kind: 'PartialObjectMetadata',
    metadata: { name: `pod-${uid}`, uid, resourceVersion: `${resourceVersion}` },
  });
  const status = (code: number, message: string): string =>
    JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code, message });

  function emitEvent(type: string, pod: Pod): void {
    version += 1;
    pod.version = version;
    const line = `${JSON.stringify({ type, object: metadataOf(pod) })}\n`;
    events.push({ version, node: pod.node, line });
    for (const { response, node } of watches) if (node === pod.node) response.write(line);
  }

  function sendList(response: ServerResponse, node: string): void {
    count.lists += 1;
    const items = [...pods.values()].filter((pod) => pod.node === node).map(metadataOf);
    response.end(
      JSON.stringify({
        kind: 'PartialObjectMetadataList',
        metadata: { resourceVersion: `${version}` },
        items,
      }),
    );
  }

  function startWatch(response: ServerResponse, node: string, from: string): void {
    count.watches += 1;
    watchedFrom.push(from);
    if (injectedFaults.expired) {
      injectedFaults.expired = false;
      response.end(
        `${JSON.stringify({ type: 'ERROR', object: JSON.parse(status(410, 'too old resource version')) })}\n`,
      );
      return;
    }
    for (const event of events)
      if (event.node === node && event.version > Number(from)) response.write(event.line);
    response.flushHeaders();
    const watch = { response, node };
    watches.add(watch);
    response.on('close', () => watches.delete(watch));
  }

  function serve({ url = '', method, headers }: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(url, 'http://x');
    const fail = (code: number, message: string): unknown =>
      response.writeHead(code).end(status(code, message));
    const [, node] = selector.exec(searchParams.get('fieldSelector') ?? '') ?? [];
    if (headers.authorization !== `Bearer ${token}`) fail(401, 'Unauthorized');
    else if (method !== 'GET' || pathname !== '/api/v1/pods' || node === undefined)
      fail(404, 'page not found');
    else if (headers.accept?.includes('as=PartialObjectMetadata') !== true)
      fail(406, 'not acceptable');
    else if (injectedFaults.denied)
      fail(403, 'pods is forbidden: User "system:serviceaccount:keyferry:keyferry" cannot list');
    else if (injectedFaults.response !== '') response.end(injectedFaults.response);
    else if (searchParams.get('watch') !== 'true') sendList(response, node);
    else startWatch(response, node, searchParams.get('resourceVersion') ?? '');
  }

  const server = createServer(serve);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    server: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    tokenFile,
    caFile,
    /** The number of requests. */
    count,
    /** The version that each watch began at. */
    watchedFrom,
    faults: injectedFaults,
    watchCount: (): number => watches.size,
    add(uid: string, node = 'node-1'): void {
      const pod = { uid, node, version: 0 };
      pods.set(uid, pod);
      emitEvent('ADDED', pod);
    },
    change(uid: string): void {
      const pod = pods.get(uid);
      if (pod !== undefined) emitEvent('MODIFIED', pod);
    },
    /** Deleted, or finished: the selector makes no difference. */
    remove(uid: string): void {
      const pod = pods.get(uid);
      pods.delete(uid);
      if (pod !== undefined) emitEvent('DELETED', pod);
    },
    /** Changes that no watch will ever tell of. */
    removeWithoutEvent: (uid: string): void => void pods.delete(uid),
    /** In every watch. */
    sendToWatches: (text: string): void => watches.forEach(({ response }) => response.write(text)),
    /** As after `timeoutSeconds`. */
    endWatches(): void {
      for (const { response } of watches) response.end();
      watches.clear();
    },
    breakWatches: (): void => watches.forEach(({ response }) => response.destroy()),
    async close(): Promise<void> {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true });
    },
  };
}
