import { describe, expect, test } from '@jest/globals';
import { startAlibabaFixture } from './fakes/alibabacloud-fixture.ts';
import { serveBundle } from './fakes/served-bundle.ts';

const getBundle = serveBundle({
  providers: ['alibabacloud'],
  start: () => startAlibabaFixture(),
  args: ({ caFile, grantsFile }) => ['--ca-file', caFile, '--shared-identity-grants', grantsFile],
});

describe.each(['1.5', '1.6'] as const)(
  'the built bundle with a fake cloud, under a driver of %s',
  (generation) => {
    test("serves KMS and OOS by the node's role and by the pod's, with a rotation and a denied pod, and prints no secret", async () => {
      const { fixture, keyferry, driverOf } = getBundle();
      const driver = driverOf(generation);
      const [db, banner] = [`eu/${generation}/db`, `banner-${generation}`];
      fixture.kms.put(db, '{"password":"CANARY-one","port":5432}');
      fixture.oos.put(banner, 'CANARY-banner');
      const objects =
        `- {objectName: ${db}, objectAlias: db.json, jmesPath: [{path: password}]}\n` +
        `- {objectName: ${banner}, objectType: oos, objectAlias: banner}`;
      const spc = (more: object) => ({
        metadata: { name: 'app' },
        spec: { provider: 'alibabacloud', parameters: { objects, ...more } },
      });
      const workload = { namespace: 'team-a', serviceAccount: 'app' };
      const bySharedIdentity = await driver.publish({ class: spc({}), pod: workload });
      const byPodIdentity = await driver.publish({
        class: spc({ usePodServiceAccountToken: 'true' }),
        pod: workload,
        tokens: fixture.podToken(),
      });
      for (const view of [bySharedIdentity, byPodIdentity]) {
        expect(view.events).toEqual([]);
        expect(view.files.password?.text).toBe('CANARY-one');
        expect(view.files.banner?.text).toBe('CANARY-banner');
      }

      fixture.kms.put(db, '{"password":"CANARY-two","port":5432}');
      const rotated = await driver.republish(bySharedIdentity);
      expect(rotated.files.password?.text).toBe('CANARY-two');
      expect(rotated.status?.objects).toContainEqual({ id: 'db.json', version: 'v2' });

      const unauthorizedPod = await driver.publish({
        class: spc({}),
        pod: { ...workload, namespace: 'team-b' },
      });
      expect(unauthorizedPod.phase).toBe('Pending');
      expect(unauthorizedPod.trapped).toBe(false);
      expect(unauthorizedPod.events[0]?.message).toContain('no grant matches');
      driver.close();
      expect(keyferry.output()).not.toContain('CANARY');
      expect(keyferry.output()).not.toContain(fixture.metadata.current.keys.accessKeySecret);
    });
  },
);
