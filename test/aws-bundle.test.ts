import { describe, expect, test } from '@jest/globals';
import { grantsForPlain, startAwsFixture } from './fakes/aws-fixture.ts';
import { serveBundle } from './fakes/served-bundle.ts';

const names = ['secretsmanager/1.5/**', 'secretsmanager/1.6/**', 'ssm//banner-*'];
const getBundle = serveBundle({
  providers: ['aws'],
  start: () => startAwsFixture({ ownIdentity: true, grants: [{ ...grantsForPlain[0], names }] }),
  args: ({ caFile, grantsFile }) => ['--ca-file', caFile, '--shared-identity-grants', grantsFile],
});

describe.each(['1.5', '1.6'] as const)(
  'the built bundle with a fake cloud, under a driver of %s',
  (generation) => {
    test('serves both services by all three identities, rotates, denies, and prints no secret', async () => {
      const { fixture, keyferry, driverOf } = getBundle();
      const driver = driverOf(generation);
      const [db, banner] = [`${generation}/db`, `/banner-${generation}`];
      const first = fixture.secretsManager.put(db, '{"password":"CANARY-one","port":5432}');
      fixture.ssm.put(banner, 'CANARY-banner');
      const objects =
        `- {objectName: ${db}, objectType: secretsmanager, objectAlias: db.json, jmesPath: [{path: password, objectAlias: password}]}\n` +
        `- {objectName: ${banner}, objectType: ssmparameter, objectAlias: banner}`;
      const spc = (more: object) => ({
        metadata: { name: 'app' },
        spec: { provider: 'aws', parameters: { objects, ...more } },
      });
      const app = { namespace: 'team-a', serviceAccount: 'app' };
      const plain = { namespace: 'team-a', serviceAccount: 'plain' };
      const tokens = fixture.podTokens();
      const byIrsa = await driver.publish({ class: spc({}), pod: app, tokens });
      const name = `pod-${generation.replace('.', '-')}`;
      const byPodIdentity = await driver.publish({
        class: spc({ usePodIdentity: 'true' }),
        pod: { ...app, name, uid: `uid-${name}` },
        tokens: fixture.podTokens({ name }),
      });
      const byOwnIdentity = await driver.publish({
        class: spc({}),
        pod: plain,
        tokens: fixture.podTokens({ account: 'plain' }),
      });
      for (const view of [byIrsa, byPodIdentity, byOwnIdentity]) {
        expect(view.events).toEqual([]);
        expect(view.files.password?.text).toBe('CANARY-one');
        expect(view.files.banner?.text).toBe('CANARY-banner');
        expect(view.status?.objects).toContainEqual({ id: 'db.json', version: first });
      }
      expect(fixture.agent.ipv4.sessions.at(-1)).toContain(`uid-${name}`);

      const second = fixture.secretsManager.put(db, '{"password":"CANARY-two","port":5432}');
      const rotated = await driver.republish(byIrsa);
      expect(rotated.files.password?.text).toBe('CANARY-two');
      expect(rotated.status?.objects).toContainEqual({ id: 'db.json', version: second });

      const unauthorizedPod = await driver.publish({
        class: spc({ objects: `${objects}\n- {objectName: other, objectType: secretsmanager}` }),
        pod: plain,
        tokens: fixture.podTokens({ account: 'plain' }),
      });
      expect(unauthorizedPod.phase).toBe('Pending');
      expect(unauthorizedPod.trapped).toBe(false);
      expect(unauthorizedPod.events[0]?.message).toContain(
        'may not read secretsmanager/other by a shared identity',
      );
      driver.close();
      for (const secretText of ['CANARY', 'secret-', 'token-', ...Object.values(tokens)])
        expect(keyferry.output()).not.toContain(secretText);
    });
  },
);

test('logs only JSON: the SDK’s warning about the Node version is not in the log', () => {
  const lines = getBundle().keyferry.output().trim().split('\n');
  expect(lines.length).toBeGreaterThan(1);
  expect(lines.filter((line) => !line.startsWith('{'))).toEqual([]);
});
