import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createHttpClient } from '../../src/http/client.ts';
import { createKubeApi, type KubeApi } from '../../src/kube/api.ts';
import { PodWatch } from '../../src/kube/pod-watch.ts';
import {
  buildApiServer,
  missingControlPlaneDependencies,
} from '../servers/control-plane/control-plane.ts';
import { keyferryUser, startCluster, type Cluster } from './cluster.ts';
import { eventually } from './test-environment.ts';
import { describeIfAvailable } from '../if-available.ts';

const missingDependencies = await missingControlPlaneDependencies();

/** The rights that `--pod-watch on` needs according to docs/operations.md. */
const podRbac = [
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'pods' },
    rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch'] }],
  },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: 'pods' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'pods' },
    subjects: [{ kind: 'ServiceAccount', namespace: 'kube-system', name: 'keyferry' }],
  },
];

describeIfAvailable(import.meta.filename, missingDependencies)(
  'the pods of a node, from a real API server',
  () => {
    let cluster: Cluster;
    const cleanups: (() => Promise<unknown>)[] = [];
    const logs: object[] = [];
    let api: KubeApi;
    let watch: PodWatch;

    beforeAll(() => buildApiServer(), 1_200_000);
    beforeAll(async () => {
      cluster = await startCluster();
      cleanups.push(cluster.stop);
      await cluster.applyServiceAccount('default/default');
      await cluster.grant([]);
      const http = createHttpClient();
      const [, server = '', , tokenFile = '', , caFile = ''] = cluster.keyferryArgs;
      api = createKubeApi({ http, server: new URL(server), tokenFile, caFile });
      watch = new PodWatch({
        api,
        node: 'node-1',
        now: Date.now,
        log: pino(
          { level: 'info' },
          { write: (line) => void logs.push(JSON.parse(line) as object) },
        ),
        pauseMs: 50,
      });
      const stop = new AbortController();
      const watchLoop = watch.run(stop.signal);
      cleanups.push(
        () => http.close(),
        () => {
          stop.abort(new Error('over'));
          return watchLoop;
        },
      );
    }, 120_000);
    afterAll(async () => {
      for (const cleanup of cleanups.reverse()) await cleanup();
    });

    async function startPod(name: string, node = 'node-1'): Promise<string> {
      await cluster.startPod({ name, node, class: 'none' });
      const pod = await cluster.findObject('default', 'pods', name);
      return pod?.metadata.uid ?? '';
    }
    const expectPresence = (uid: string, presence: string): Promise<void> =>
      eventually(
        async () => watch.presence(uid),
        (found) => expect(found).toBe(presence),
      );

    test('are not readable without the rights, and two verbs are enough', async () => {
      await eventually(
        async () => logs,
        (logged) => expect(logged).toMatchObject([{ code: 'ACCESS_DENIED' }]),
      );
      await cluster.grant(podRbac);
      await expectPresence(await startPod('first'), 'here');
    });

    test('are listed while they run, removed when they have finished or are deleted, and not listed on other nodes', async () => {
      const [ends, succeeds, fails, stays] = [
        await startPod('ends'),
        await startPod('succeeds'),
        await startPod('fails'),
        await startPod('stays'),
      ];
      const elsewhere = await startPod('elsewhere', 'node-2');
      for (const uid of [ends, succeeds, fails, stays]) await expectPresence(uid, 'here');
      await cluster.deletePod('default', 'ends');
      for (const [name, phase] of [
        ['succeeds', 'Succeeded'],
        ['fails', 'Failed'],
        ['stays', 'Running'],
      ] as const)
        await cluster.kube.patch(`/api/v1/namespaces/default/pods/${name}/status`, {
          status: { phase },
        });
      for (const uid of [ends, succeeds, fails]) await expectPresence(uid, 'gone');
      expect([watch.presence(stays), watch.presence(elsewhere)]).toEqual(['here', 'unknown']);
    });

    test('are listed again after an outage of the API server, without those deleted in the meantime', async () => {
      const uid = await startPod('leaves');
      await expectPresence(uid, 'here');
      await cluster.controlPlane.kill();
      expect(watch.presence(uid)).toBe('here');
      await cluster.controlPlane.restart();
      await cluster.deletePod('default', 'leaves');
      await expectPresence(uid, 'gone');
    });

    test('are requested as metadata only, by list and watch', async () => {
      const listed = await api.list(['api', 'v1', 'pods'], {}, new AbortController().signal);
      expect(listed).toMatchObject({
        kind: 'PartialObjectMetadataList',
        items: expect.arrayContaining([expect.not.objectContaining({ spec: expect.anything() })]),
      });
      await eventually(
        () => cluster.controlPlane.auditedRequests(keyferryUser),
        (requests) =>
          expect(requests).toEqual(expect.arrayContaining(['list pods : 200', 'watch pods : 200'])),
      );
    });
  },
);
