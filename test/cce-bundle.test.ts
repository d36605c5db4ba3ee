import { describe, expect, test } from '@jest/globals';
import { objectYaml, startCceFixture } from './fakes/cce-fixture.ts';
import { serveBundle } from './fakes/served-bundle.ts';

const getBundle = serveBundle({
  providers: ['cce'],
  start: () => startCceFixture({ lookUpProject: true, realTime: true }),
  args: ({ caFile }) => ['--ca-file', caFile],
});

describe.each(['1.5', '1.6'] as const)(
  'the built bundle, with a driver of generation %s',
  (generation) => {
    test('serves files and versions, rotates, denies, and prints no secret', async () => {
      const { fixture, keyferry, driverOf } = getBundle();
      const driver = driverOf(generation);
      const name = `db-${generation}`;
      fixture.csms.put(name, '{"password":"CANARY-one","port":5432}');
      fixture.annotate([name]);
      const spc = {
        metadata: { name: 'app' },
        spec: {
          provider: 'cce',
          parameters: {
            objects: objectYaml(
              name,
              'latest',
              'objectAlias: db.json, jmesPath: [{path: password, objectAlias: pass}]',
            ),
          },
        },
      };
      const pod = await driver.publish({
        class: spc,
        pod: { name, namespace: 'team-a', serviceAccount: 'app' },
      });
      expect(pod.events).toEqual([]);
      expect(pod.files.pass?.text).toBe('CANARY-one');
      expect(pod.status?.objects).toEqual([
        { id: 'db.json', version: 'v1' },
        { id: 'pass', version: expect.stringMatching(/^v1\+[0-9a-f]{8}$/) },
      ]);

      fixture.csms.put(name, '{"password":"CANARY-two","port":5432}');
      const rotated = await driver.republish(pod);
      expect(rotated.files.pass?.text).toBe('CANARY-two');
      expect(rotated.status?.objects[0]).toEqual({ id: 'db.json', version: 'v2' });

      fixture.annotate([]);
      const unauthorizedPod = await driver.publish({
        class: spc,
        pod: { name: `${name}-late`, namespace: 'team-a', serviceAccount: 'app' },
      });
      expect(unauthorizedPod.phase).not.toBe('Running');
      expect(unauthorizedPod.trapped).toBe(false);
      expect(unauthorizedPod.events[0]?.message).toContain('cce.io/dew-resource');
      driver.close();
      expect(keyferry.output()).not.toContain('CANARY');
      expect(keyferry.output()).not.toContain(fixture.keys.secret);
    });
  },
);
