import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createHttp } from '../../src/http/client.ts';
import { createKubeApi, type KubeApi } from '../../src/kube/api.ts';
import { createPodWatch, type PodWatch } from '../../src/kube/pod-watch.ts';
import { builtApiServer, controlPlaneLacks } from '../servers/control-plane/control-plane.ts';
import { keyferryUser, startCluster, type Cluster } from './cluster.ts';
import { eventually } from './stage.ts';
import { describeWhere } from './where-possible.ts';

const lacks = await controlPlaneLacks();

/** What docs/operations.md asks for `--pod-watch on`. */
const rights = [
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

describeWhere(import.meta.filename, lacks)('the pods of a node, as a real API server tells of them', () => {
  let cluster: Cluster;
  const closing: (() => Promise<unknown>)[] = [];
  const logs: object[] = [];
  let api: KubeApi;
  let watch: PodWatch;

  beforeAll(() => builtApiServer(), 1_200_000);
  beforeAll(async () => {
    cluster = await startCluster();
    closing.push(cluster.stop);
    await cluster.account('default/default');
    await cluster.grant([]);
    const http = createHttp();
    const [, server = '', , tokenFile = '', , caFile = ''] = cluster.keyferryArgs;
    api = createKubeApi({ http, server: new URL(server), tokenFile, caFile });
    watch = createPodWatch({
      api,
      node: 'node-1',
      now: Date.now,
      log: pino({ level: 'info' }, { write: (line) => void logs.push(JSON.parse(line) as object) }),
      pauseMs: 50,
    });
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    closing.push(
      () => http.close(),
      () => {
        stop.abort(new Error('over'));
        return running;
      },
    );
  }, 120_000);
  afterAll(async () => {
    for (const close of closing.reverse()) await close();
  });

  async function start(name: string, node = 'node-1'): Promise<string> {
    await cluster.startPod({ name, node, class: 'none' });
    const pod = await cluster.find('default', 'pods', name);
    return pod?.metadata.uid ?? '';
  }
  const becomes = (uid: string, presence: string): Promise<void> =>
    eventually(
      async () => watch.presence(uid),
      (found) => expect(found).toBe(presence),
    );

  test('are not told to whom they may not be; two verbs are all it takes', async () => {
    await eventually(
      async () => logs,
      (told) => expect(told).toMatchObject([{ code: 'ACCESS_DENIED' }]),
    );
    await cluster.grant(rights);
    await becomes(await start('first'), 'here');
  });

  test('are here while they run, gone when they have finished or are deleted, and unknown on other nodes', async () => {
    const [ends, succeeds, fails, stays] = [
      await start('ends'),
      await start('succeeds'),
      await start('fails'),
      await start('stays'),
    ];
    const elsewhere = await start('elsewhere', 'node-2');
    for (const uid of [ends, succeeds, fails, stays]) await becomes(uid, 'here');
    await cluster.endPod('default', 'ends');
    for (const [name, phase] of [
      ['succeeds', 'Succeeded'],
      ['fails', 'Failed'],
      ['stays', 'Running'],
    ] as const)
      await cluster.kube.patch(`/api/v1/namespaces/default/pods/${name}/status`, { status: { phase } });
    for (const uid of [ends, succeeds, fails]) await becomes(uid, 'gone');
    expect([watch.presence(stays), watch.presence(elsewhere)]).toEqual(['here', 'unknown']);
  });

  test('are found again after the API server was away: who left meanwhile is gone', async () => {
    const uid = await start('leaves');
    await becomes(uid, 'here');
    await cluster.controlPlane.kill();
    expect(watch.presence(uid)).toBe('here');
    await cluster.controlPlane.restart();
    await cluster.endPod('default', 'leaves');
    await becomes(uid, 'gone');
  });

  test('are asked for in metadata alone, by list and watch', async () => {
    const listed = await api.list(['api', 'v1', 'pods'], {}, new AbortController().signal);
    expect(listed).toMatchObject({
      kind: 'PartialObjectMetadataList',
      items: expect.arrayContaining([expect.not.objectContaining({ spec: expect.anything() })]),
    });
    await eventually(
      () => cluster.controlPlane.auditOf(keyferryUser),
      (asked) => expect(asked).toEqual(expect.arrayContaining(['list pods : 200', 'watch pods : 200'])),
    );
  });
});
