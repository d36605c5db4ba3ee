import {
  CreateSecretCommand,
  DeleteSecretCommand,
  PutSecretValueCommand,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { LabelParameterVersionCommand, PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PodView } from '../driver/cluster.ts';
import { createDriver, type Driver } from '../driver/driver.ts';
import { startKeyferry, type KeyferryProcess } from '../driver/keyferry-process.ts';
import { createAwsAccount } from '../fakes/aws-account.ts';
import { startFakePodIdentityAgent } from '../fakes/aws-pod-identity.ts';
import { mintAwsToken } from '../fakes/aws-sts.ts';
import { startFakeKubernetes } from '../fakes/kubernetes.ts';
import { createTestCa } from '../fakes/tls.ts';
import { accessDeniedResponse, startMotoProxy, throttledResponse } from '../servers/moto/proxy.ts';
import { missingMotoDependencies, startMoto } from '../servers/moto/moto.ts';
import { describeIfAvailable } from '../if-available.ts';

const primaryRegion = 'eu-west-1';
const failoverRegion = 'us-east-1';
const audiences = ['sts.amazonaws.com', 'pods.eks.amazonaws.com'];
/** The default account of moto. */
const role = 'arn:aws:iam::123456789012:role/app';

/**
 * moto behind a TLS proxy, and Keyferry as users run it. STS calls and the setup of a suite go to
 * moto directly, over plain HTTP.
 */
async function startEnvironment() {
  const dir = await mkdtemp(join(tmpdir(), 'kf-moto-'));
  const ca = createTestCa();
  const caFile = join(dir, 'ca.crt');
  await writeFile(caFile, ca.cert);
  const moto = await startMoto();
  const front = await startMotoProxy(moto.url, ca.issue());
  const kubernetes = await startFakeKubernetes({
    'team-a/app': { annotations: { 'eks.amazonaws.com/role-arn': role } },
  });
  const agent = await startFakePodIdentityAgent({
    account: createAwsAccount({ clock: { cloud: 0 } }),
    associations: new Map([['team-a/app', role]]),
    now: Date.now,
  });
  const { server, tokenFile, caFile: kubeCaFile } = kubernetes;
  const kube = [
    '--kube-server',
    server.href,
    '--kube-token-file',
    tokenFile,
    '--kube-ca-file',
    kubeCaFile,
  ];
  const keyferry = await startKeyferry({
    providers: ['aws'],
    args: ['--ca-file', caFile, '--refresh-interval', '0', ...kube],
    env: {
      AWS_ENDPOINT_URL: front.url.href,
      AWS_ENDPOINT_URL_STS: moto.url.href,
      KEYFERRY_AWS_POD_IDENTITY_AGENT_IPV4: agent.url.href,
    },
  });
  const credentials = { accessKeyId: 'suite', secretAccessKey: 'suite' };
  const clients = (region: string) => ({
    secrets: new SecretsManagerClient({ region, endpoint: moto.url.href, credentials }),
    parameters: new SSMClient({ region, endpoint: moto.url.href, credentials }),
  });
  return {
    ...{
      dir,
      moto,
      front,
      kubernetes,
      agent,
      keyferry,
      primaryClients: clients(primaryRegion),
      failoverClients: clients(failoverRegion),
    },
    async close() {
      await keyferry.stop();
      await Promise.all([front, kubernetes, agent].map((server) => server.close()));
      await moto.stop();
      await rm(dir, { recursive: true });
    },
  };
}

describeIfAvailable(import.meta.filename, await missingMotoDependencies())(
  'aws before moto',
  () => {
    let environment: Awaited<ReturnType<typeof startEnvironment>>;
    let keyferry: KeyferryProcess;
    let driver: Driver;

    beforeAll(async () => {
      environment = await startEnvironment();
      keyferry = environment.keyferry;
      driver = newDriver('1.6');
    });
    afterEach(() => environment.front.intercept());
    afterAll(async () => {
      driver.close();
      expect(keyferry.output()).not.toContain('CANARY');
      await environment.close();
    });

    const newDriver = (generation: '1.5' | '1.6'): Driver =>
      createDriver({
        providersDir: keyferry.providersDir,
        generation,
        dir: join(environment.dir, generation),
      });
    const create = async (
      name: string,
      value: string | Uint8Array,
      { secrets } = environment.primaryClients,
    ) => {
      const content = typeof value === 'string' ? { SecretString: value } : { SecretBinary: value };
      const { ARN, VersionId } = await secrets.send(
        new CreateSecretCommand({ Name: name, ...content }),
      );
      return { arn: ARN!, version: VersionId! };
    };
    const put = async (name: string, value: string): Promise<string> => {
      const { VersionId } = await environment.primaryClients.secrets.send(
        new PutSecretValueCommand({ SecretId: name, SecretString: value }),
      );
      return VersionId!;
    };
    const parameter = (name: string, value: string, { parameters } = environment.primaryClients) =>
      parameters.send(
        new PutParameterCommand({
          Name: name,
          Value: value,
          Type: 'SecureString',
          Overwrite: true,
        }),
      );
    const publish = (
      objects: string,
      more: Record<string, string> = {},
      viaDriver = driver,
    ): Promise<PodView> => {
      const uid = randomUUID();
      const token = (audience: string): string =>
        mintAwsToken({
          ...{ namespace: 'team-a', serviceAccount: 'app', expiresAt: Date.now() + 3_600_000 },
          ...{ audience, podUid: uid },
        });
      return viaDriver.publish({
        class: {
          metadata: { name: 'app' },
          spec: { provider: 'aws', parameters: { region: primaryRegion, objects, ...more } },
        },
        pod: { uid, namespace: 'team-a', serviceAccount: 'app' },
        tokens: Object.fromEntries(audiences.map((audience) => [audience, token(audience)])),
      });
    };
    const texts = ({ files, events }: PodView): Record<string, string> => {
      expect(events).toEqual([]);
      return Object.fromEntries(Object.entries(files).map(([path, { text }]) => [path, text]));
    };
    const failureMessage = (view: PodView): string => {
      expect([view.phase, view.trapped]).toEqual(['Pending', false]);
      return view.events.at(-1)?.message ?? '';
    };

    test('reads secrets by name, ARN, ARN without suffix, version and stage, and returns binary ones unchanged', async () => {
      const { arn, version } = await create('eu/db', '{"user":"CANARY-u","port":5432}');
      await put('eu/db', '{"user":"CANARY-v","port":5433}');
      const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
      await create('key', bytes);
      const view = await publish(
        `- {objectName: eu/db, objectType: secretsmanager, objectAlias: db, jmesPath: [{path: port, objectAlias: port}]}\n` +
          `- {objectName: "${arn}", objectAlias: arn}\n` +
          `- {objectName: "${arn.slice(0, -7)}", objectAlias: short}\n` +
          `- {objectName: eu/db, objectType: secretsmanager, objectAlias: pinned, objectVersion: ${version}}\n` +
          `- {objectName: eu/db, objectType: secretsmanager, objectAlias: previous, objectVersionLabel: AWSPREVIOUS}\n` +
          `- {objectName: key, objectType: secretsmanager}`,
      );
      const [first, second] = [
        '{"user":"CANARY-u","port":5432}',
        '{"user":"CANARY-v","port":5433}',
      ];
      expect(texts(view)).toMatchObject({
        ...{ db: second, port: '5433', arn: second, short: second, pinned: first, previous: first },
      });
      expect(Buffer.from(view.files.key?.bytes ?? []).equals(bytes)).toBe(true);
      expect(view.status?.objects).toContainEqual({ id: 'pinned', version });
    });

    test('reads 23 parameters by name, version and label', async () => {
      const names = Array.from({ length: 20 }, (_, index) => `/app/p${index}`);
      for (const name of names) await parameter(name, `CANARY ${name}`);
      for (const value of ['CANARY-1', 'CANARY-2', 'CANARY-3']) await parameter('/app/v', value);
      await environment.primaryClients.parameters.send(
        new LabelParameterVersionCommand({ Name: '/app/v', ParameterVersion: 2, Labels: ['blue'] }),
      );
      const lines = names.map((name) => `- {objectName: ${name}, objectType: ssmparameter}`);
      const callsBefore = environment.front.calls.length;
      const view = await publish(
        [
          ...lines,
          '- {objectName: /app/v, objectType: ssmparameter, objectAlias: v1, objectVersion: 1}',
          '- {objectName: /app/v, objectType: ssmparameter, objectAlias: blue, objectVersionLabel: blue}',
          '- {objectName: /app/v, objectType: ssmparameter, objectAlias: newest}',
        ].join('\n'),
      );
      expect(texts(view)).toEqual({
        ...Object.fromEntries(names.map((name) => [name.replaceAll('/', '_'), `CANARY ${name}`])),
        ...{ v1: 'CANARY-1', blue: 'CANARY-2', newest: 'CANARY-3' },
      });
      expect(environment.front.calls.slice(callsBefore).map(({ action }) => action)).toEqual(
        Array<string>(3).fill('GetParameters'),
      );
    });

    test('reads the parameter by its ARN', async () => {
      await parameter('/team/key', 'CANARY');
      const arn = 'arn:aws:ssm:eu-west-1:123456789012:parameter/team/key';
      expect(texts(await publish(`- {objectName: "${arn}", objectAlias: key}`))).toEqual({
        key: 'CANARY',
      });
    });

    test.each(['1.5', '1.6'] as const)(
      'a rotation under a driver of %s: one describe, then one read',
      async (generation) => {
        const name = `rotated-${generation}`;
        await create(name, 'CANARY-old');
        const viaDriver = newDriver(generation);
        const view = await publish(
          `- {objectName: ${name}, objectType: secretsmanager}`,
          {},
          viaDriver,
        );
        const actions = async (work: () => Promise<unknown>): Promise<string[]> => {
          const callsBefore = environment.front.calls.length;
          await work();
          return environment.front.calls.slice(callsBefore).map(({ action }) => action);
        };
        expect(await actions(() => viaDriver.republish(view))).toEqual(['DescribeSecret']);
        const version = await put(name, 'CANARY-new');
        let next = view;
        expect(await actions(async () => (next = await viaDriver.republish(view)))).toEqual([
          'DescribeSecret',
          'GetSecretValue',
        ]);
        expect(texts(next)).toEqual({ [name]: 'CANARY-new' });
        expect(next.status?.objects).toEqual([{ id: name, version }]);
        viaDriver.close();
      },
    );

    test('reads with a session of Pod Identity', async () => {
      await create('by-pod', 'CANARY');
      const view = await publish('- {objectName: by-pod, objectType: secretsmanager}', {
        usePodIdentity: 'true',
      });
      expect(texts(view)).toEqual({ 'by-pod': 'CANARY' });
      expect(environment.agent.count()).toBe(1);
    });

    test('reads several new secrets in one call, and without that right each in its own call', async () => {
      for (const name of ['b1', 'b2', 'b3']) await create(name, `CANARY ${name}`);
      const objects = ['b1', 'b2', 'b3'].map(
        (name) => `- {objectName: ${name}, objectType: secretsmanager}`,
      );
      const callsBefore = environment.front.calls.length;
      const expected = { b1: 'CANARY b1', b2: 'CANARY b2', b3: 'CANARY b3' };
      expect(texts(await publish(objects.join('\n')))).toEqual(expected);
      expect(environment.front.calls.slice(callsBefore).map(({ action }) => action)).toEqual([
        'BatchGetSecretValue',
      ]);
      environment.front.intercept(({ action }) =>
        action === 'BatchGetSecretValue' ? accessDeniedResponse : undefined,
      );
      const callsBeforeFallback = environment.front.calls.length;
      expect(texts(await publish(objects.join('\n'), { usePodIdentity: 'true' }))).toEqual(
        expected,
      );
      expect(
        environment.front.calls.slice(callsBeforeFallback).map(({ action }) => action),
      ).toEqual(['BatchGetSecretValue', ...Array<string>(3).fill('GetSecretValue')]);
    });

    describe('reports the cause of an error', () => {
      test('a missing secret: moto returns 404 where AWS returns 400, so the error name decides', async () => {
        const message = failureMessage(
          await publish('- {objectName: none, objectType: secretsmanager}'),
        );
        expect(message).toMatch(
          /Secrets Manager secret none in eu-west-1: there is no such secret \(HTTP 404, ResourceNotFoundException/,
        );
        expect(
          failureMessage(await publish('- {objectName: none, objectType: ssmparameter}')),
        ).toMatch(
          /SSM parameter none in eu-west-1: there is no such parameter \(InvalidParameters/,
        );
      });

      test('a secret that is scheduled for deletion', async () => {
        await create('leaving', 'CANARY');
        await environment.primaryClients.secrets.send(
          new DeleteSecretCommand({ SecretId: 'leaving', RecoveryWindowInDays: 7 }),
        );
        expect(
          failureMessage(await publish('- {objectName: leaving, objectType: secretsmanager}')),
        ).toMatch(/scheduled for deletion \(HTTP 400, InvalidRequestException/);
      });

      test('a denial, without a call to the other region', async () => {
        await create('denied', 'CANARY');
        await create('denied', 'CANARY', environment.failoverClients);
        environment.front.intercept(({ region }) =>
          region === primaryRegion ? accessDeniedResponse : undefined,
        );
        const message = failureMessage(
          await publish('- {objectName: denied, objectType: secretsmanager}', {
            failoverRegion: failoverRegion,
          }),
        );
        expect(message).toMatch(
          /access is denied \(HTTP 400, AccessDeniedException.*; allow secretsmanager:GetSecretValue on arn:aws:secretsmanager:eu-west-1:123456789012:secret:denied-/,
        );
      });
    });

    test('waits until throttling ends', async () => {
      await create('slow', 'CANARY');
      let remaining = 2;
      environment.front.intercept(() => (remaining-- > 0 ? throttledResponse : undefined));
      expect(texts(await publish('- {objectName: slow, objectType: secretsmanager}'))).toEqual({
        slow: 'CANARY',
      });
    });

    test('reads from the failover region when the first one is down', async () => {
      await create('there', 'CANARY-away', environment.failoverClients);
      await parameter('/there', 'CANARY-away', environment.failoverClients);
      environment.front.intercept(({ region }) =>
        region === primaryRegion ? { status: 503, body: '<html>' } : undefined,
      );
      const view = await publish(
        '- {objectName: there, objectType: secretsmanager}\n- {objectName: /there, objectType: ssmparameter, objectAlias: p}',
        { failoverRegion: failoverRegion },
      );
      expect(texts(view)).toEqual({ there: 'CANARY-away', p: 'CANARY-away' });
    });
  },
);
