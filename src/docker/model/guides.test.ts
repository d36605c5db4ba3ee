import { describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { readDsoConfig } from '../config/read.ts';
import type { ComposeModel, JsonObject } from './compose-model.ts';
import { rewrite } from './rewrite.ts';

const images = {
  'my-app:latest': { cmd: ['node', 'server.js'], path: '/usr/local/bin:/usr/bin:/bin' },
  'postgres:16': {
    ...{ entrypoint: ['docker-entrypoint.sh'], cmd: ['postgres'] },
    path: '/usr/lib/postgresql/16/bin:/usr/bin:/bin',
  },
};

/** The model that Compose prints for a file: lists of variables become maps. */
function composeConfig(file: string): ComposeModel {
  const { services } = parse(file) as { services: Record<string, Record<string, unknown>> };
  const printed = Object.entries(services).map(([name, service]) => {
    const { environment } = service;
    const pairs = Array.isArray(environment)
      ? (environment as string[]).map((text) => {
          const [key = '', ...value] = text.split('=');
          return [key, value.length === 0 ? null : value.join('=')];
        })
      : Object.entries(environment ?? {});
    const defaults = { command: null, entrypoint: null };
    return [name, { ...defaults, ...service, environment: Object.fromEntries(pairs) }];
  });
  return { name: 'guide', services: Object.fromEntries(printed) };
}

function rewriteGuide(file: string, dsoYaml = '') {
  const { config } = readDsoConfig(dsoYaml, 'dso.yaml');
  const result = rewrite({ model: composeConfig(file), images, config: config! });
  expect(result.problems).toEqual([]);
  expect(JSON.stringify(result.model)).not.toContain('dso://');
  const services = result.model!.services as Record<string, JsonObject>;
  return { services, injections: result.services };
}

describe('the Compose files of the guides', () => {
  test('AWS Secrets Manager: the list form, and a service without secrets', () => {
    const { services, injections } = rewriteGuide(`
services:
  app:
    image: my-app:latest
    environment:
      - NODE_ENV=production
      - DB_PASSWORD=dso://my-app/database-password
      - API_KEY=dso://my-app/api-key
    ports: ['3000:3000']
  redis:
    image: redis:7
`);
    expect(injections).toEqual([
      {
        ...{ project: 'guide', service: 'app', files: [], exec: 'on' },
        variables: [
          { name: 'DB_PASSWORD', ref: { path: 'my-app/database-password' } },
          { name: 'API_KEY', ref: { path: 'my-app/api-key' } },
        ],
      },
    ]);
    expect(services.app!.environment).toEqual({
      ...{ NODE_ENV: 'production', PATH: '/run/dso/bin:/usr/local/bin:/usr/bin:/bin' },
    });
    expect(services.redis).not.toHaveProperty('volumes');
  });

  test('HashiCorp Vault: the map form, KV v2 and dynamic credentials of one path', () => {
    const { services, injections } = rewriteGuide(`
services:
  postgres:
    image: postgres:16
    environment:
      POSTGRES_PASSWORD: dso://secret/data/app/database-password#password
    healthcheck:
      test: [CMD-SHELL, pg_isready -U postgres]
      interval: 10s
  app:
    image: my-app:latest
    environment:
      DB_USER: dso://database/creds/app#username
      DB_PASSWORD: dso://database/creds/app#password
    depends_on:
      postgres: {condition: service_healthy}
`);
    const [postgres, app] = injections;
    expect(postgres!.variables).toEqual([
      {
        name: 'POSTGRES_PASSWORD',
        ref: { path: 'secret/data/app/database-password', field: 'password' },
      },
    ]);
    expect(new Set(app!.variables.map(({ ref }) => ref.path))).toEqual(
      new Set(['database/creds/app']),
    );
    expect(services.postgres).toMatchObject({
      entrypoint: ['/run/dso/bin/dso-shim', '--', 'docker-entrypoint.sh'],
      command: ['postgres'],
      healthcheck: {
        test: [
          ...['CMD', '/run/dso/bin/dso-shim', '--', '/bin/sh', '-c'],
          'pg_isready -U postgres',
        ],
        interval: '10s',
      },
    });
    expect(services.app!.depends_on).toEqual({ postgres: { condition: 'service_healthy' } });
  });

  test('Huawei Cloud CSMS: a bare key that a mapping of dso.yaml fills', () => {
    const { injections } = rewriteGuide(
      `
services:
  app:
    image: my-app:latest
    environment:
      - DB_PASSWORD
      - DB_HOST=db.example.com
`,
      `
provider: huawei
config:
  region: ap-southeast-3
secrets:
  - name: database-password
    inject: env
    rotation: true
    reload_strategy:
      type: restart
    mappings:
      password: DB_PASSWORD
agent:
  watch:
    polling_interval: 2m
`,
    );
    expect(injections).toMatchObject([
      {
        variables: [
          {
            name: 'DB_PASSWORD',
            ref: { provider: 'huawei', path: 'database-password', field: 'password' },
          },
        ],
        rotation: { enabled: true, strategy: 'restart' },
      },
    ]);
  });
});
