import { describe, expect, test } from '@jest/globals';
import { startVaultRig } from './fakes/vault-rig.ts';
import { serveBundle } from './fakes/served-bundle.ts';

const served = serveBundle({
  providers: ['vault', 'openbao'],
  async start() {
    const rig = await startVaultRig({
      env: (vault, file) => ({
        KEYFERRY_VAULT_TOKEN_REQUESTS: 'true',
        KEYFERRY_VAULT_ALLOWED_ADDRESSES: 'https://vault.example',
        // Not for the rig, which is at this address too.
        HTTPS_PROXY: 'http://127.0.0.1:9',
        KEYFERRY_VAULT_TOKEN_FILE: file('token', vault.tokens.issue({ policies: ['app'] }).id),
      }),
    });
    rig.policy('app', { 'secret/data/*': ['read'], 'database/creds/*': ['read'] });
    rig.auth.kubernetes().role('app', { names: ['app'] });
    return rig;
  },
  args: ({ grantsFile }) => ['--shared-identity-grants', grantsFile],
});

describe.each(['1.5', '1.6'] as const)(
  'the built bundle, before Vault, under a driver of %s',
  (generation) => {
    test("serves vault and openbao: by the pod's token and by one it asks for, by its own; a lease, a rotation, a refusal; and prints no secret", async () => {
      const { rig, keyferry, driverOf } = served();
      const driver = driverOf(generation);
      const name = `db-${generation}`;
      const kv = rig.kv2();
      rig.database().role('app');
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
      const brought = await driver.publish({ class: spc('vault', {}), pod, tokens: rig.podToken() });
      const asked = await driver.publish({ class: spc('openbao', {}), pod });
      const shared = await driver.publish({ class: spc('vault', { authMethod: 'token' }), pod });
      for (const view of [brought, asked, shared]) {
        expect(view.events).toEqual([]);
        expect(view.files.password?.text).toBe('CANARY-one');
      }
      const leased = await driver.publish({
        class: spc('vault', {
          objects: '- {objectName: user, secretPath: database/creds/app, secretKey: username}',
        }),
        pod,
        tokens: rig.podToken(),
      });
      const user = leased.files.user?.text;
      expect(user).toMatch(/^v-/);
      expect((await driver.republish(leased)).files.user?.text).toBe(user);

      kv.put(name, { password: 'CANARY-two' });
      const rotated = await driver.republish(brought);
      expect(rotated.files.password?.text).toBe('CANARY-two');

      const stranger = await driver.publish({
        class: spc('vault', { vaultAddress: 'https://evil.example' }),
        pod,
        tokens: rig.podToken(),
      });
      expect(stranger.phase).toBe('Pending');
      expect(stranger.trapped).toBe(false);
      expect(stranger.events[0]?.message).toContain('KEYFERRY_VAULT_ALLOWED_ADDRESSES');

      const abroad = await driver.publish({
        class: spc('vault', { vaultAddress: 'https://vault.example' }),
        pod,
        tokens: rig.podToken(),
      });
      expect(abroad.events[0]?.message).toContain('by the proxy 127.0.0.1:9');
      driver.close();
      expect(keyferry.output()).not.toContain('CANARY');
      for (const { id } of rig.tokens.all()) expect(keyferry.output()).not.toContain(id);
    });
  },
);
