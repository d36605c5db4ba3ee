import { expect, test } from '@jest/globals';
import { readDsoConfig } from '../config/read.ts';
import { convertOperatorConfig } from './operator-config.ts';
import { applyEdits } from './text-edits.ts';

function convert(text: string) {
  const file = { path: '/dso.yaml', name: 'dso.yaml', kind: 'dso.yaml' } as const;
  const { edits, notes } = convertOperatorConfig({ ...file, text, mode: 0o600, uid: 0, gid: 0 });
  return {
    notes,
    text: applyEdits(
      text,
      edits.map(({ edit }) => edit),
    ),
  };
}

test('the form with several providers becomes one that is read here', () => {
  const { text, notes } = convert(`# ours
providers:
  aws-prod:
    type: aws
    region: us-east-1
    auth:
      method: iam_role   # of the node
    retry:
      attempts: 5
  vault:
    type: vault
    config: {address: "https://v:8200", token: root}
  backup:
    type: file
    config:
      path: /var/lib/dso/secrets
logging:
  level: info
defaults: {provider: aws-prod}
agent:
  cache: false
  watch: {mode: hybrid, polling_interval: 10m, webhook: {enabled: true}}
secrets:
  - name: prod/db
    mappings: {password: DB_PASS}
  - name: mysql
    provider: vault
  - name: api/legacy
    provider: backup
    inject:
      type: file
      path: "/run/secrets/api.key"
`);
  expect(text).toBe(`# ours
providers:
  aws-prod:
    type: aws
    region: us-east-1
  vault:
    type: vault
    config: {address: "https://v:8200"}
  backup:
    type: local
defaults: {provider: aws-prod}
agent:
  watch: {polling_interval: 5m}
secrets:
  - name: prod/db
    mappings: {password: DB_PASS}
  - name: secret/data/mysql
    provider: vault
  - name: api/legacy
    provider: backup
    inject:
      type: file
      path: api.key
`);
  expect(readDsoConfig(text, 'dso.yaml').problems).toEqual([]);
  expect(notes).toEqual([
    expect.stringMatching(
      /^the login of aws-prod is removed, .* --provider aws --store aws-prod, /,
    ),
    expect.stringMatching(/^the login of vault is removed, .* --provider vault, /),
    expect.stringMatching(/^the store backup was a directory of files, /),
    'the file /run/secrets/api.key is /run/secrets/dso/api.key now: change the application, or the variable that names it',
  ]);
});

test.each([
  'provider: huawei\nconfig: {region: cn-north-4}\nagent: {cache: true, watch: {polling_interval: 2m}}\n',
  'providers: {v: {type: vault, address: https://v, auth: {method: approle, params: {role_id: r}}}}\nsecrets: [{name: secret/data/x}]\n',
  'not a map\n',
])('a file of this product, and no file of either, stays: %j', (text) =>
  expect(convert(text)).toEqual({ text, notes: [] }),
);

test('a login goes without a trace of it', () => {
  const { text, notes } = convert(
    'provider: vault\nconfig: {address: https://v, token: canary}\nauth: {method: token, params: {token: canary}}\n',
  );
  expect(text).toBe('provider: vault\nconfig: {address: https://v}\n');
  expect(notes.join()).not.toContain('canary');
});
