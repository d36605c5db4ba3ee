import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import type { StoreConfig } from '../../src/core/host-store.ts';
import { createHttpClient } from '../../src/http/client.ts';
import { hostStores } from '../../src/providers/host-stores.ts';
import { createFingerprint } from '../../src/providers/shared/identity/fingerprint.ts';
import { createHostStoreReader, storeAuth } from '../fakes/host-store-reader.ts';
import { describeIfAvailable } from '../if-available.ts';
import { missingMotoDependencies, startMoto } from '../servers/moto/moto.ts';

const region = 'eu-west-1';
/** The default account of moto. */
const roleArn = 'arn:aws:iam::123456789012:role/secrets';

describeIfAvailable(import.meta.filename, await missingMotoDependencies())(
  'the host store aws before moto',
  () => {
    const http = createHttpClient();
    const savedEnv = process.env;
    let moto: Awaited<ReturnType<typeof startMoto>>;

    beforeAll(async () => {
      moto = await startMoto();
      process.env = { ...savedEnv, AWS_ACCESS_KEY_ID: 'suite', AWS_SECRET_ACCESS_KEY: 'suite' };
      const options = { region, endpoint: moto.url.href };
      const secrets = new SecretsManagerClient(options);
      for (const name of ['my-app/db', 'my-app/api'])
        await secrets.send(new CreateSecretCommand({ Name: name, SecretString: `of ${name}` }));
      const parameter = { Name: '/my-app/key', Value: 'k', Type: 'SecureString' } as const;
      await new SSMClient(options).send(new PutParameterCommand(parameter));
    });
    afterAll(async () => {
      process.env = savedEnv;
      await http.close();
      await moto.stop();
    });

    async function open(config: Partial<StoreConfig> = {}) {
      const auth = storeAuth('environment');
      const store = await hostStores.aws(
        { type: 'aws', region, auth, endpoint: moto.url.href, ...config },
        {
          ...{ name: 'aws', env: {}, http, now: Date.now, retryBaseMs: 1 },
          ...{ fingerprint: createFingerprint(), log: pino({ enabled: false }) },
        },
      );
      return createHostStoreReader(store);
    }

    test.each([
      ['with keys of the environment', {}],
      ['with a role that they assume', { roleArn }],
    ])('checks, lists and reads %s', async (_, config) => {
      const { check, list, read } = await open(config);
      expect(await check()).toBe('OK');
      expect((await list()).split(' ').sort()).toEqual(['my-app/api', 'my-app/db']);
      const lines = await read('my-app/db', 'my-app/api', 'ssm:/my-app/key', 'ssm:/my-app/key:1');
      expect(lines.map((line) => line.replace(/@[\w-]+/, ''))).toEqual([
        ...['my-app/db: of my-app/db', 'my-app/api: of my-app/api'],
        ...['ssm:/my-app/key: k', 'ssm:/my-app/key:1: k'],
      ]);
      expect(await read('absent')).toEqual([expect.stringMatching(/^absent OBJECT_NOT_FOUND: /)]);
    });
  },
);
