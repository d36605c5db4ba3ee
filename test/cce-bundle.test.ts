import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDriver } from './driver/driver.ts';
import { startKeyferry, type KeyferryProcess } from './driver/keyferry-process.ts';
import { object, startCceRig, type CceRig } from './fakes/cce-rig.ts';

let rig: CceRig;
let keyferry: KeyferryProcess;
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kf-cce-'));
  rig = await startCceRig({ lookUpProject: true });
  const { server, tokenFile, caFile } = rig.kubernetes;
  const kube = ['--kube-server', server.href, '--kube-token-file', tokenFile, '--kube-ca-file', caFile];
  const env = Object.fromEntries(Object.entries(rig.env).filter(([, value]) => value !== undefined));
  keyferry = await startKeyferry({
    providers: ['cce'],
    args: ['--ca-file', rig.caFile, '--refresh-interval', '0', ...kube],
    env: env as Record<string, string>,
  });
}, 60_000);

afterAll(async () => {
  await keyferry.stop();
  await rig.close();
  await rm(dir, { recursive: true });
});

describe.each(['1.5', '1.6'] as const)(
  'the built bundle, before a whole cloud, under a driver of %s',
  (generation) => {
    test('serves cce: files, versions, a rotation, a refusal; and prints no secret', async () => {
      const driver = createDriver({
        providersDir: keyferry.providersDir,
        generation,
        dir: join(dir, generation),
      });
      const name = `db-${generation}`;
      rig.csms.put(name, '{"password":"CANARY-one","port":5432}');
      rig.annotate([name]);
      const spc = {
        metadata: { name: 'app' },
        spec: {
          provider: 'cce',
          parameters: {
            objects: object(
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

      rig.csms.put(name, '{"password":"CANARY-two","port":5432}');
      const rotated = await driver.republish(pod);
      expect(rotated.files.pass?.text).toBe('CANARY-two');
      expect(rotated.status?.objects[0]).toEqual({ id: 'db.json', version: 'v2' });

      rig.annotate([]);
      const stranger = await driver.publish({
        class: spc,
        pod: { name: `${name}-late`, namespace: 'team-a', serviceAccount: 'app' },
      });
      expect(stranger.phase).not.toBe('Running');
      expect(stranger.trapped).toBe(false);
      expect(stranger.events[0]?.message).toContain('cce.io/dew-resource');
      driver.close();
      expect(keyferry.output()).not.toContain('CANARY');
      expect(keyferry.output()).not.toContain(rig.keys.secret);
    });
  },
);
