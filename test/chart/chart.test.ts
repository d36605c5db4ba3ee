import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { providers } from '../../src/providers/registry.ts';
import { readAlibabaConfig } from '../../src/providers/alibabacloud/config.ts';
import { readAwsConfig } from '../../src/providers/aws/config.ts';
import { readCceConfig } from '../../src/providers/cce/config.ts';
import { grantableProviders } from '../../src/providers/shared/identity/grants-file.ts';
import { readVaultSettings } from '../../src/providers/vault/config.ts';
import { runSteps } from '../../src/core/steps.ts';

type Schema = {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly enum?: readonly string[];
  readonly additionalProperties?: unknown;
};
type Environment = Readonly<Record<string, string | undefined>>;

const chart = 'charts/keyferry';
const read = (path: string): string => readFileSync(path, 'utf8');
const schema = JSON.parse(read(`${chart}/values.schema.json`)) as Schema;
const values = parse(read(`${chart}/values.yaml`)) as Record<string, unknown>;
const names = Object.keys(providers).sort();

function schemaAt(path: string): Schema {
  return path.split('.').reduce<Schema>((from, key) => from.properties![key]!, schema);
}

/** The variables that a provider reads, over all ways in which it can be configured. */
function variablesRead(
  readConfig: (env: Environment) => unknown,
  configurations: readonly Environment[],
): Set<string> {
  const found = new Set<string>();
  for (const environment of configurations)
    readConfig(
      new Proxy(environment, {
        get: (_, name) => {
          found.add(String(name));
          return environment[String(name)];
        },
      }),
    );
  return found;
}

describe('the chart', () => {
  test('has the version of the program', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };
    expect(parse(read(`${chart}/Chart.yaml`))).toMatchObject({ version, appVersion: version });
  });

  test('offers all providers of the registry', () => {
    expect(schemaAt('providers').items?.enum).toEqual(names);
    expect(schemaAt('sharedIdentities.grants').items?.properties?.provider?.enum).toEqual(
      [...grantableProviders].sort(),
    );
  });

  const configurations: Readonly<
    Record<string, readonly [(env: Environment) => unknown, readonly Environment[]]>
  > = {
    alibabacloud: [
      readAlibabaConfig,
      [
        { ALICLOUD_ROLE_ARN: 'acs:ram::1:role/r', ACCESS_KEY_ID: 'i', SECRET_ACCESS_KEY: 's' },
        {
          ALICLOUD_ROLE_ARN: 'acs:ram::1:role/r',
          ALICLOUD_OIDC_PROVIDER_ARN: 'acs:ram::1:oidc-provider/p',
        },
      ],
    ],
    aws: [readAwsConfig, [{}]],
    cce: [
      readCceConfig,
      [
        { HUAWEICLOUD_SDK_REGION: 'eu-west-101' },
        { HUAWEICLOUD_SDK_IDP_ID: 'i', HUAWEICLOUD_SDK_ID_TOKEN_FILE: '/token' },
        { HUAWEICLOUD_SDK_AK: 'ak', HUAWEICLOUD_SDK_SK: 'sk' },
        { HUAWEI_ACCESS_KEY_ID: 'ak', HUAWEI_SECRET_ACCESS_KEY: 'sk' },
      ],
    ],
    vault: [
      (env) => [readVaultSettings('vault', env), readVaultSettings('openbao', env)],
      [{ VAULT_CLIENT_CERT: '/c', VAULT_CLIENT_KEY: '/k' }],
    ],
  };
  /** What the chart sets by itself. */
  const chartVariables = /^(KEYFERRY_)?NODE_NAME$|_TOKEN_REQUESTS$/;
  /** Of AWS's SDK, for Keyferry's own identity. */
  const sdkVariables =
    /^AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|ROLE_|WEB_IDENTITY|CONTAINER_|EC2_METADATA_)/;

  test.each(Object.entries(configurations))(
    'accepts the variables that %s reads, and no others',
    (name, [config, all]) => {
      const reads = [...variablesRead(config, all)].filter(
        (variable) => variable !== '' && !chartVariables.test(variable),
      );
      const offered = Object.keys(schemaAt(`${name}.env`).properties!).filter(
        (variable) => !sdkVariables.test(variable),
      );
      expect(offered.sort()).toEqual(reads.sort());
      expect(schemaAt(`${name}.env`).additionalProperties).toBe(false);
    },
  );

  test('has a schema for every value, and rejects others', () => {
    function compare(
      value: unknown,
      { properties, additionalProperties }: Schema,
      path: string,
    ): void {
      if (properties === undefined) return;
      expect({ path, additionalProperties }).toEqual({ path, additionalProperties: false });
      const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
      for (const key of keys) {
        expect({ path: `${path}.${key}`, known: key in properties }).toEqual({
          path: `${path}.${key}`,
          known: true,
        });
        compare((value as Record<string, unknown>)[key], properties[key]!, `${path}.${key}`);
      }
    }
    compare(values, schema, 'values');
    // Values of a chart that depends on this one.
    const ofParentChart = ['enabled', 'global'];
    const missing = Object.keys(schema.properties!).filter(
      (key) => !(key in values) && !ofParentChart.includes(key),
    );
    expect(missing).toEqual([]);
  });

  test('lists the parameters of the classes of each provider', async () => {
    const parameters = parse(read(`${chart}/files/parameters.yaml`)) as Record<
      string,
      readonly string[]
    >;
    expect(Object.keys(parameters).sort()).toEqual(names);
    for (const [provider, known] of Object.entries(parameters)) {
      const plan = await providers[provider]!.plan();
      const isUnknownParameter = (name: string): boolean =>
        runSteps(plan({ [name]: 'x' })).problems.some(({ message }) =>
          message.includes('is unknown to'),
        );
      expect(known.filter(isUnknownParameter)).toEqual([]);
      expect(isUnknownParameter('objets')).toBe(true);
      const requested = new Set<string>();
      runSteps(plan(new Proxy({}, { get: (_, name) => void requested.add(String(name)) })));
      expect([...requested].filter((name) => !known.includes(name))).toEqual([]);
    }
  });

  test('lists the providers that accept parameters in any letter case', async () => {
    const caseInsensitive = names.map(async (name) => {
      const plan = await providers[name]!.plan();
      return runSteps(plan({ OBJECTS: 'x' })).problems.some(({ message }) =>
        message.includes('is unknown to'),
      )
        ? []
        : [name];
    });
    const anyCase = (await Promise.all(caseInsensitive)).flat();
    expect(read(`${chart}/templates/admission.yaml`)).toContain(
      `{{- $anyCase := list ${anyCase.map((name) => `"${name}"`).join(' ')} }}`,
    );
  });

  test.each([
    'ALLOWED_FILES',
    'CACERT',
    'CAPATH',
    'CLIENT_CERT',
    'CLIENT_KEY',
    'SKIP_VERIFY',
    '_ADDR',
  ])('decides what classes of Vault may name by the variable %s that there is', (word) => {
    expect(read(`${chart}/templates/admission.yaml`)).toContain(word);
    expect(Object.keys(schemaAt('vault.env').properties!).join()).toContain(word);
  });
});

describe('alerts and dashboards', () => {
  const page = read('docs/operations.md');
  const alerts = read(`${chart}/files/alerts.yaml`);

  test('docs/operations.md has the alerts of the chart', () => {
    expect(page).toContain(`\`\`\`yaml\n${alerts}\`\`\``);
  });

  // Prometheus gives `namespace` to the scraped pod's, and renames a metric's own.
  test.each([
    ['alerts', alerts],
    ['dashboard', read(`${chart}/files/dashboard.json`)],
  ])('the %s name the namespace of the pods whose files are stale, not Keyferry’s', (_, text) => {
    const requested = text.match(/.*\(keyferry_stale_seconds.*/g) ?? [];
    expect(requested).toHaveLength(1);
    expect(requested[0]?.replaceAll('\\', '')).toContain(
      'label_replace(keyferry_stale_seconds, "namespace", "$1", "exported_namespace", "(.+)")',
    );
  });

  test.each([
    ['alerts', alerts],
    ['dashboard', read(`${chart}/files/dashboard.json`)],
  ])('the %s uses only metrics that exist', (_, text) => {
    const rows = page.split('\n').filter((line) => line.startsWith('| `'));
    const documented = rows.flatMap((row) =>
      [...row.matchAll(/`((?:keyferry|process)_[a-z_]+)/g)].map(([, name]) => name),
    );
    const requested = [
      ...text.matchAll(/\b((?:keyferry|process)_[a-z_]+?)(?:_bucket)?\b(?=[ ){[])/g),
    ].map(([, name]) => name!);
    expect(requested.length).toBeGreaterThan(4);
    expect(requested.filter((name) => !documented.includes(name))).toEqual([]);
  });
});
