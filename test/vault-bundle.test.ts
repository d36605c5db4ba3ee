import { describe, expect, test } from '@jest/globals';
import { startVaultFixture } from './fakes/vault-fixture.ts';
import { serveBundle } from './fakes/served-bundle.ts';

const getBundle = serveBundle({
  providers: ['vault', 'openbao'],
  async start() {
    const fixture = await startVaultFixture({
      env: (vault, file) => ({
        KEYFERRY_VAULT_TOKEN_REQUESTS: 'true',
        KEYFERRY_VAULT_ALLOWED_ADDRESSES: 'https://vault.example',
        // Not for the fixture, which is at this address, too.
        HTTPS_PROXY: 'http://127.0.0.1:9',
        KEYFERRY_VAULT_TOKEN_FILE: file('token', vault.tokens.issue({ policies: ['app'] }).id),
      }),
    });
    fixture.policy('app', { 'secret/data/*': ['read'], 'database/creds/*': ['read'] });
    fixture.auth.kubernetes().role('app', { names: ['app'] });
    return fixture;
  },
  args: ({ grantsFile }) => ['--shared-identity-grants', grantsFile],
});

describe.each(['1.5', '1.6'] as const)(
  'the built bundle, before Vault, under a driver of %s',
  (generation) => {
    test('serves vault and openbao with the token of the pod, one it requests and its own; handles a lease, a rotation and a denial; prints no secret', async () => {
      const { fixture, keyferry, driverOf } = getBundle();
      const driver = driverOf(generation);
      const name = `db-${generation}`;
      const kv = fixture.kv2();
      fixture.database().role('app');
      kv.put(name, { password: 'CANARY-one' });
      const spc = (provider: string, more: object) => ({
        metadata: { name: 'app' },
        spec: {
          provider,
          parameters: {
            roleName: 'app',
            objects:
              `- {objectName: password, secretPath: secret/data/${name}, secretKey: password}\n` +
              `- {objectName: whole.json, secretPath: secret/data/${name}}`,
            ...more,
          },
        },
      });
      const pod = { namespace: 'team-a', serviceAccount: 'app' };
      const withPodToken = await driver.publish({
        class: spc('vault', {}),
        pod,
        tokens: fixture.podToken(),
      });
      const withRequestedToken = await driver.publish({ class: spc('openbao', {}), pod });
      const withOwnToken = await driver.publish({
        class: spc('vault', { authMethod: 'token' }),
        pod,
      });
      for (const view of [withPodToken, withRequestedToken, withOwnToken]) {
        expect(view.events).toEqual([]);
        expect(view.files.password?.text).toBe('CANARY-one');
      }
      const leased = await driver.publish({
        class: spc('vault', {
          objects: '- {objectName: user, secretPath: database/creds/app, secretKey: username}',
        }),
        pod,
        tokens: fixture.podToken(),
      });
      const user = leased.files.user?.text;
      expect(user).toMatch(/^v-/);
      expect((await driver.republish(leased)).files.user?.text).toBe(user);

      kv.put(name, { password: 'CANARY-two' });
      const rotated = await driver.republish(withPodToken);
      expect(rotated.files.password?.text).toBe('CANARY-two');

      const unauthorizedPod = await driver.publish({
        class: spc('vault', { vaultAddress: 'https://evil.example' }),
        pod,
        tokens: fixture.podToken(),
      });
      expect(unauthorizedPod.phase).toBe('Pending');
      expect(unauthorizedPod.trapped).toBe(false);
      expect(unauthorizedPod.events[0]?.message).toContain('KEYFERRY_VAULT_ALLOWED_ADDRESSES');

      const proxiedPod = await driver.publish({
        class: spc('vault', { vaultAddress: 'https://vault.example' }),
        pod,
        tokens: fixture.podToken(),
      });
      expect(proxiedPod.events[0]?.message).toContain('by the proxy 127.0.0.1:9');
      driver.close();
      expect(keyferry.output()).not.toContain('CANARY');
      for (const { id } of fixture.tokens.all()) expect(keyferry.output()).not.toContain(id);
    });
  },
);
