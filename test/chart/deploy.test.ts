import { describe, expect, test } from '@jest/globals';
import { Command } from 'commander';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { checkClass } from '../../src/cli/lint/check-class.ts';
import { readClassFile } from '../../src/cli/lint/class-file.ts';
import { parseSettings, settingFlags, type RawSettings } from '../../src/config/settings.ts';
import { regionEndpoint } from '../../src/http/endpoint.ts';
import { providers } from '../../src/providers/registry.ts';
import { parseSharedIdentityGrants } from '../../src/providers/shared/identity/grants-file.ts';

type KubeObject = {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly rules?: readonly {
    readonly resources: readonly string[];
    readonly verbs: readonly string[];
  }[];
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
};
type PodSpec = {
  readonly containers: readonly {
    readonly args?: readonly string[];
    readonly env?: readonly { readonly name: string; readonly value?: string }[];
  }[];
};

const names = Object.keys(providers).sort();
const read = (path: string): string => readFileSync(path, 'utf8');

function objectsOf(path: string): readonly KubeObject[] {
  return parseAllDocuments(read(path)).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as KubeObject;
  });
}

describe('deploy/', () => {
  test.each(['examples', 'manifests', 'values'])('has %s for every provider', (folder) => {
    const found = readdirSync(join('deploy', folder)).map((name) => name.replace(/\.yaml$/, ''));
    expect(found.sort()).toEqual(names);
  });

  describe.each(names)('example of %s', (provider) => {
    const file = `deploy/examples/${provider}/web.yaml`;

    test('passes keyferry lint without hints', async () => {
      const { classes, parseErrors: unreadable } = readClassFile(file, read(file));
      expect({ count: classes.length, unreadable }).toEqual({ count: 1, unreadable: [] });
      const [spc] = classes;
      expect(spc?.provider).toBe(provider);
      const planner = { name: provider, plan: await providers[provider]!.plan() };
      expect(checkClass(spc!, [planner]).diagnostics).toEqual([]);
    });

    test('is a complete workload', () => {
      const kinds = objectsOf(file).map(({ kind }) => kind);
      expect(kinds).toEqual(['Namespace', 'ServiceAccount', 'SecretProviderClass', 'Deployment']);
    });
  });

  /** The rights of each provider in the API server, as in deploy/values. */
  const expectedPermissions: Readonly<Record<string, readonly string[]>> = {
    alibabacloud: ['get serviceaccounts'],
    aws: ['get serviceaccounts', 'get nodes'],
    cce: ['get serviceaccounts'],
    local: [],
    openbao: [],
    vault: [],
  };

  describe.each(names)('manifest of %s', (provider) => {
    const objects = objectsOf(`deploy/manifests/${provider}.yaml`);
    const objectOfKind = (kind: string): KubeObject =>
      objects.find((object) => object.kind === kind)!;
    const [container] = objectOfKind('DaemonSet').spec!.template!.spec.containers;

    test('starts a process that accepts its flags and variables', () => {
      const [command, ...args] = container!.args!;
      const serve = new Command('serve').exitOverride();
      for (const option of settingFlags) serve.addOption(option);
      const rawSettings = serve.parse(args, { from: 'user' }).opts<RawSettings>();
      const env = Object.fromEntries(container!.env!.map(({ name, value }) => [name, value]));
      const settings = parseSettings({
        ...rawSettings,
        healthAddress: env.KEYFERRY_HEALTH_ADDRESS,
      });
      expect(command).toBe('serve');
      expect(settings).toMatchObject({
        providers: [provider],
        providersDir: '/var/run/secrets-store-csi-providers',
        healthAddress: ':8095',
        sharedIdentities: 'granted',
        events: 'off',
      });
    });

    test('lets refusals name the grants file, because kubectl has no values of a chart', () => {
      expect(container!.env!.map(({ name }) => name)).not.toContain(
        'KEYFERRY_SHARED_IDENTITIES_VALUE',
      );
    });

    test('names no region from which a mount could read', () => {
      const regions = container!.env!.filter(({ name }) => name.endsWith('_REGION'));
      for (const { value } of regions)
        expect(() => regionEndpoint('store.{region}.example.com', value!)).toThrow();
    });

    test('has no policy that checks addresses by the placeholder for the address of Vault', () => {
      expect(read(`deploy/manifests/${provider}.yaml`)).not.toContain(
        'this address is not allowed',
      );
    });

    test('has valid grants', () => {
      const text = objectOfKind('ConfigMap').data!['grants.yaml']!;
      expect(parseSharedIdentityGrants(text, 'grants.yaml')).toHaveLength(
        provider === 'local' ? 1 : 0,
      );
    });

    test('gives the rights the provider needs, and no others', () => {
      const actualPermissions = objects
        .filter(({ kind }) => kind.endsWith('Role'))
        .flatMap(({ rules = [] }) =>
          rules.flatMap(({ verbs, resources }) =>
            verbs.flatMap((verb) => resources.map((resource) => `${verb} ${resource}`)),
          ),
        );
      expect(actualPermissions).toEqual(expectedPermissions[provider]);
    });
  });
});
