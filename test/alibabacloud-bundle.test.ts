import { describe, expect, test } from '@jest/globals';
import { startAlibabaRig } from './fakes/alibabacloud-rig.ts';
import { serveBundle } from './fakes/served-bundle.ts';

const served = serveBundle({
  providers: ['alibabacloud'],
  start: () => startAlibabaRig(),
  args: ({ caFile, grantsFile }) => ['--ca-file', caFile, '--shared-identity-grants', grantsFile],
});

describe.each(['1.5', '1.6'] as const)(
  'the built bundle, before a whole cloud, under a driver of %s',
  (generation) => {
    test("serves alibabacloud: by the node's role and by the pod's, KMS and OOS, a rotation, a refusal; and prints no secret", async () => {
      const { rig, keyferry, driverOf } = served();
      const driver = driverOf(generation);
      const [db, banner] = [`eu/${generation}/db`, `banner-${generation}`];
      rig.kms.put(db, '{"password":"CANARY-one","port":5432}');
      rig.oos.put(banner, 'CANARY-banner');
      const objects =
        `- {objectName: ${db}, objectAlias: db.json, jmesPath: [{path: password}]}\n` +
        `- {objectName: ${banner}, objectType: oos, objectAlias: banner}`;
      const spc = (more: object) => ({
        metadata: { name: 'app' },
        spec: { provider: 'alibabacloud', parameters: { objects, ...more } },
      });
      const who = { namespace: 'team-a', serviceAccount: 'app' };
      const shared = await driver.publish({ class: spc({}), pod: who });
      const own = await driver.publish({
        class: spc({ usePodServiceAccountToken: 'true' }),
        pod: who,
        tokens: rig.podToken(),
      });
      for (const view of [shared, own]) {
        expect(view.events).toEqual([]);
        expect(view.files.password?.text).toBe('CANARY-one');
        expect(view.files.banner?.text).toBe('CANARY-banner');
      }

      rig.kms.put(db, '{"password":"CANARY-two","port":5432}');
      const rotated = await driver.republish(shared);
      expect(rotated.files.password?.text).toBe('CANARY-two');
      expect(rotated.status?.objects).toContainEqual({ id: 'db.json', version: 'v2' });

      const stranger = await driver.publish({ class: spc({}), pod: { ...who, namespace: 'team-b' } });
      expect(stranger.phase).toBe('Pending');
      expect(stranger.trapped).toBe(false);
      expect(stranger.events[0]?.message).toContain('no grant matches');
      driver.close();
      expect(keyferry.output()).not.toContain('CANARY');
      expect(keyferry.output()).not.toContain(rig.metadata.current.keys.accessKeySecret);
    });
  },
);
