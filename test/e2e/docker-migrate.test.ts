import { afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { readPage } from '../docs-page.ts';
import { builtBundle, builtPlugin } from '../driver/bundle.ts';
import { describeIfAvailable } from '../if-available.ts';
import { buildCompose, missingDockerDependencies } from '../servers/docker/engine.ts';
import { testImages } from '../servers/docker/images.ts';
import { type Finished, runProgram } from '../servers/docker/run-program.ts';
import { containerOf, startDockerEnvironment } from './docker-environment.ts';

/** `docker dso migrate` with the real Compose, which says what each value is. */

/** Part of each value. No output may have it. */
const canary = 'canary-9f1e';
const value = `${canary}-value`;

describeIfAvailable(import.meta.filename, await missingDockerDependencies())(
  'docker dso migrate',
  () => {
    let bundle: string;
    let compose: string;
    let plugin: string;
    let folder: string;
    beforeAll(async () => {
      [bundle, compose, plugin] = [await builtBundle(), await buildCompose(), await builtPlugin()];
    }, 900_000);
    beforeEach(async () => {
      folder = await realpath(await mkdtemp(join(tmpdir(), 'kf-migrate-')));
      for (const path of ['shop/.git', 'home', 'docker/cli-plugins'])
        await mkdir(join(folder, path), { recursive: true });
      await symlink(compose, join(folder, 'docker/cli-plugins/docker-compose'));
      await symlink(plugin, join(folder, 'docker/cli-plugins/docker-dso'));
      await keyferry('init');
      await writeFile(
        join(folder, 'stores.yaml'),
        `provider: local
config: {store_file: ${join(folder, 'store.age')}, key_file: ${join(folder, 'store.key')}}
`,
      );
    });
    afterEach(() => rm(folder, { recursive: true }));

    const path = (name: string): string => join(folder, 'shop', name);
    const read = (name: string): string => readFileSync(path(name), 'utf8');

    async function write(files: Readonly<Record<string, string>>): Promise<void> {
      for (const [name, text] of Object.entries(files)) {
        await mkdir(dirname(path(name)), { recursive: true });
        await writeFile(path(name), text);
      }
    }

    function keyferry(...args: readonly string[]): Promise<Finished> {
      const paths = ['--store', join(folder, 'store.age'), '--key', join(folder, 'store.key')];
      return runProgram(process.execPath, [bundle, 'local', ...paths, ...args]);
    }
    const stored = async (name: string): Promise<string> => (await keyferry('get', name)).stdout;

    const env = (): Record<string, string> => ({
      PATH: process.env.PATH ?? '',
      HOME: join(folder, 'home'),
      DOCKER_CONFIG: join(folder, 'docker'),
      DSO_USER_CONFIG: join(folder, 'stores.yaml'),
    });

    /** The command in the directory of the application. Its output has no value. */
    async function dso(...args: readonly string[]): Promise<Finished> {
      const finished = await runProgram('docker', ['dso', ...args], {
        cwd: path(''),
        env: env(),
      });
      expect(finished.stdout + finished.stderr).not.toContain(canary);
      return finished;
    }

    /** With `--apply`, and once more: it finds nothing then. */
    async function apply(...args: readonly string[]): Promise<string> {
      const { code, stdout, stderr } = await dso('migrate', ...args, '--apply');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const again = await dso('migrate', ...args);
      expect(again.stdout).toMatch(/^There is nothing to move\.\n/);
      return stdout;
    }

    test('shows what it would change, and changes nothing', async () => {
      const files = {
        'compose.yaml': `services:
  app:
    image: my-app
    # the old password was ${value}
    environment:
      DB_HOST: ${value}
      DB_PASSWORD: \${DB_PASSWORD}
`,
        '.env': `DB_PASSWORD=${value}\nDB_HOST=other-${value}\n`,
      };
      await write(files);
      const { code, stdout, stderr } = await dso('migrate');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toBe(`REFERENCE                VARIABLES
dso://shop/db-password   app DB_PASSWORD

--- a/compose.yaml
+++ b/compose.yaml
@@ -4,4 +4,4 @@
     # [hidden]
     environment:
       DB_HOST: [hidden]
-      DB_PASSWORD: \${DB_PASSWORD}
+      DB_PASSWORD: dso://shop/db-password

--- a/.env
+++ b/.env
@@ -1,2 +1,1 @@
-DB_PASSWORD=[hidden]
 DB_HOST=[hidden]

These stay as they are:
  line 4 of compose.yaml, after the change: it still has the value of DB_PASSWORD
  line 6 of compose.yaml, after the change: it still has the value of DB_PASSWORD
  line 1 of .env, after the change: it still has the value of DB_PASSWORD

Nothing was written. To write it, run the same command with --apply.
`);
      for (const [name, text] of Object.entries(files)) expect(read(name)).toBe(text);
      expect(existsSync(join(folder, 'home/.local'))).toBe(false);
      expect((await keyferry('list')).stdout).not.toContain('shop');
    });

    test('prints what the page shows', async () => {
      await write({
        'compose.yaml': `services:
  app:
    image: my-app:latest
    environment:
      DB_HOST: postgres
      DB_PASSWORD: \${DB_PASSWORD}
  db:
    image: postgres
    environment:
      POSTGRES_PASSWORD: \${DB_PASSWORD}
`,
        '.env': `STAGE=test\nDB_PASSWORD=${value}\n`,
      });
      const [shown = ''] = readPage('docker/migration.md').blocks('console');
      expect(`$ docker dso migrate\n${(await dso('migrate')).stdout}`).toBe(shown);
    });

    test('moves values, keeps the old files elsewhere, and says how to get them back', async () => {
      const files = {
        'compose.yaml': `# the shop\nservices:\n  app:\n    image: my-app\n    environment:\n      DB_PASSWORD: \${DB_PASSWORD}   # from .env\n`,
        '.env': `DB_PASSWORD=${value}\n`,
      };
      await write(files);
      await chmod(path('.env'), 0o640);
      const output = await apply();
      expect(read('compose.yaml')).toBe(
        files['compose.yaml'].replace('${DB_PASSWORD}', 'dso://shop/db-password'),
      );
      expect(read('.env')).toBe('');
      expect(statSync(path('.env')).mode & 0o777).toBe(0o640);
      expect(await stored('shop/db-password')).toBe(value);
      const [, backup = ''] = /^backup {3}(\S+), /m.exec(output) ?? [];
      expect(dirname(backup)).toBe(join(folder, 'home/.local/state/dso/backups'));
      expect(statSync(backup).mode & 0o777).toBe(0o700);
      for (const name of readdirSync(backup))
        expect(statSync(join(backup, name)).mode & 0o777).toBe(0o600);
      expect(output).toContain(
        'The history of git, old containers and copies still have the values',
      );
      const [, restore = ''] = /^restore {2}(.*)$/m.exec(output) ?? [];
      expect(await runProgram('sh', ['-c', restore])).toMatchObject({ code: 0, stderr: '' });
      for (const [name, text] of Object.entries(files)) expect(read(name)).toBe(text);
      // The store has the values already.
      expect(await dso('migrate', '--apply')).toMatchObject({ code: 0 });
      expect((await keyferry('list')).stdout).toMatch(/shop\/db-password +v1 /);
    });

    /** What the file has for the variable, and what it has afterwards. */
    /** What Compose sees. */
    async function composedPassword(): Promise<string | undefined> {
      const config = ['compose', 'config', '--format', 'json'];
      const { stdout } = await runProgram('docker', config, { cwd: path(''), env: env() });
      const model = JSON.parse(stdout) as {
        services: { app: { environment: Record<string, string> } };
      };
      return model.services.app.environment.DB_PASSWORD?.replaceAll('$$', () => '$');
    }

    const forms: readonly (readonly [title: string, before: string, after: string])[] = [
      ['plain', `DB_PASSWORD: ${value}`, 'DB_PASSWORD: @'],
      ['in quotes', `"DB_PASSWORD": "${value}"  # x`, '"DB_PASSWORD": @  # x'],
      ['in single quotes', `DB_PASSWORD: '${value}''s'`, 'DB_PASSWORD: @'],
      ['a tag', `DB_PASSWORD: !!str ${value}`, 'DB_PASSWORD: !!str @'],
      [
        'a block',
        `DB_PASSWORD: |-\n        ${value}\n        two\n      B: c`,
        'DB_PASSWORD: @\n      B: c',
      ],
      ['several lines', `DB_PASSWORD: "${value}\n        two"`, 'DB_PASSWORD: @'],
      ['dollars', `DB_PASSWORD: ${value}$$x$$`, 'DB_PASSWORD: @'],
      ['a default', `DB_PASSWORD: \${NO_SUCH:-${value}}`, 'DB_PASSWORD: @'],
    ];
    test.each(forms)('moves a value that is written so: %s', async (_, before, after) => {
      const text = (form: string): string =>
        `services:\n  app:\n    image: my-app\n    environment:\n      A: b\n      ${form}\n`;
      await write({ 'compose.yaml': text(before) });
      const password = await composedPassword();
      await apply();
      const name = before.includes('NO_SUCH') ? 'shop/no-such' : 'shop/db-password';
      expect(read('compose.yaml')).toBe(text(after.replace('@', `dso://${name}`)));
      expect(await stored(name)).toBe(password);
    });

    const lines: readonly (readonly [title: string, before: string, after: string])[] = [
      ['unquoted', `DB_PASSWORD=${value} # x`, 'DB_PASSWORD=@ # x'],
      ['export', `export DB_PASSWORD=${value}`, 'export DB_PASSWORD=@'],
      ['a colon', `DB_PASSWORD: ${value}`, 'DB_PASSWORD: @'],
      ['quotes', `DB_PASSWORD="${value} # \\"two\\""`, 'DB_PASSWORD=@'],
      ['single quotes', `DB_PASSWORD='${value} $x'`, 'DB_PASSWORD=@'],
      ['several lines', `DB_PASSWORD="${value}\ntwo=2\nthree"`, 'DB_PASSWORD=@'],
      [
        'the last of two',
        `DB_PASSWORD=old-${value}\nDB_PASSWORD=${value}`,
        'DB_PASSWORD=@\nDB_PASSWORD=@',
      ],
      ['windows', `A=b\r\nDB_PASSWORD=${value}\r`, 'A=b\r\nDB_PASSWORD=@\r'],
      ['a byte order mark', `\ufeffDB_PASSWORD=${value}`, '\ufeffDB_PASSWORD=@'],
    ];
    test.each(lines)('moves a value of an env file: %s', async (_, before, after) => {
      await write({
        'compose.yaml': 'services:\n  app:\n    image: my-app\n    env_file: [app.env]\n',
        'app.env': `Z=1\n${before}\nB=2\n`.replace(/^Z=1\n(?=\ufeff)/, ''),
      });
      const password = await composedPassword();
      await apply();
      expect(read('app.env')).toBe(
        `Z=1\n${after}\nB=2\n`
          .replace(/^Z=1\n(?=\ufeff)/, '')
          .replaceAll('@', 'dso://shop/db-password'),
      );
      expect(await stored('shop/db-password')).toBe(password);
    });

    test('follows extends, include, several files, anchors and merged maps', async () => {
      await write({
        'compose.yaml': `include: [parts/cache.yaml]
x-common: &common
  SHARED_TOKEN: ${value}-1
x-key: &key ${value}-2
services:
  app:
    extends: {file: base.yaml, service: base}
    environment:
      <<: *common
      SIGNING_KEY: *key
  worker:
    image: my-app
    environment:
      <<: [*common]
      SIGNING_KEY: *key
      DB_PASSWORD: ${value}-old
`,
        'compose.override.yaml': `services:\n  worker:\n    environment: {DB_PASSWORD: ${value}-3, A: b}\n`,
        'base.yaml': `services:\n  base:\n    image: my-app\n    environment:\n      - BASE_SECRET=${value}-4\n`,
        'parts/cache.yaml': `services:\n  cache:\n    image: redis\n    env_file: cache.env\n`,
        'parts/cache.env': `REDIS_PASSWORD=${value}-5\n`,
      });
      await apply();
      expect(read('compose.yaml')).toContain(`  SHARED_TOKEN: dso://shop/shared-token
x-key: &key dso://shop/signing-key
`);
      expect(read('compose.override.yaml')).toContain(
        '{DB_PASSWORD: dso://shop/db-password, A: b}',
      );
      expect(read('base.yaml')).toContain('- BASE_SECRET=dso://shop/base-secret');
      expect(read('parts/cache.env')).toBe('REDIS_PASSWORD=dso://shop/redis-password\n');
      const names = ['shared-token', 'signing-key', 'db-password', 'base-secret', 'redis-password'];
      for (const [index, name] of names.entries())
        expect(await stored(`shop/${name}`)).toBe(`${value}-${index + 1}`);
    });

    test('gives one variable with two values two secrets, and one value one secret', async () => {
      await write({
        'compose.yaml': `services:
  one: {image: a, environment: {PASSWORD: ${value}-1, COMMON_TOKEN: ${value}}}
  two: {image: a, environment: {PASSWORD: ${value}-2, COMMON_TOKEN: ${value}}}
`,
      });
      await apply();
      expect(read('compose.yaml')).toBe(`services:
  one: {image: a, environment: {PASSWORD: dso://shop/one/password, COMMON_TOKEN: dso://shop/common-token}}
  two: {image: a, environment: {PASSWORD: dso://shop/two/password, COMMON_TOKEN: dso://shop/common-token}}
`);
    });

    test('keeps a line of .env that a Compose file still needs', async () => {
      await write({
        'compose.yaml': `services:
  app:
    image: my-app
    command: "run --password \${DB_PASSWORD}"
    environment: [DB_PASSWORD, "URL=postgres://a:\${DB_PASSWORD}@db"]
`,
        '.env': `DB_PASSWORD=${value}\n`,
      });
      const output = await apply();
      expect(read('.env')).toBe(`DB_PASSWORD=${value}\n`);
      expect(read('compose.yaml')).toContain(
        'environment: [DB_PASSWORD=dso://shop/db-password, URL=dso://shop/url]',
      );
      expect(await stored('shop/url')).toBe(`postgres://a:${value}@db`);
      expect(output).toMatch(
        /services\.app\.command\[2\]: it has the value of \w+ too, and docker inspect/,
      );
    });

    test('moves the secrets of Compose whose path a variable has', async () => {
      await write({
        'compose.yaml': `services:
  db:
    image: postgres
    environment:
      POSTGRES_PASSWORD_FILE: /run/secrets/db_password
      API_KEY_FILE: /run/secrets/api
    secrets:
      - db_password
      - source: api_key
        target: api
  other:
    image: my-app
    secrets: [fixed]
secrets:
  # the password
  db_password:
    file: ./db_password.txt
  api_key: {environment: API_KEY}
  fixed: {file: ./db_password.txt}
`,
        'db_password.txt': `${value}\n`,
        '.env': `API_KEY='${value} $x'\n`,
      });
      const { code, stdout } = await dso('migrate', '--apply');
      expect(code).toBe(0);
      expect(read('compose.yaml')).toBe(`services:
  db:
    image: postgres
    environment:
      POSTGRES_PASSWORD_FILE: dsofile://shop/db-password
      API_KEY_FILE: dsofile://shop/api-key
  other:
    image: my-app
    secrets: [fixed]
secrets:
  # the password
  fixed: {file: ./db_password.txt}
`);
      expect(read('.env')).toBe('');
      expect(await stored('shop/db-password')).toBe(`${value}\n`);
      expect(await stored('shop/api-key')).toBe(`${value} $x`);
      expect(stdout).toContain(
        'note: db_password.txt still has its value: remove it after the move\n',
      );
      expect(stdout).toContain('the secret fixed of service other: no variable has its path');
    });

    test('removes some of the secrets of lists and maps in brackets', async () => {
      await write({
        'compose.yaml': `services:
  a: {image: x, environment: {F: /run/secrets/s, G: /run/secrets/t}, secrets: [s, u, t]}
  b: {image: x, environment: {F: /run/secrets/s}, secrets: [s]}
secrets: {s: {file: s.txt}, t: {file: s.txt}, u: {file: s.txt}}
`,
        's.txt': value,
      });
      expect(await dso('migrate', '--apply')).toMatchObject({ code: 0 });
      expect(read('compose.yaml')).toBe(`services:
  a: {image: x, environment: {F: dsofile://shop/s, G: dsofile://shop/t}, secrets: [u]}
  b: {image: x, environment: {F: dsofile://shop/s}}
secrets: {u: {file: s.txt}}
`);
    });

    test('keeps line breaks and a byte order mark', async () => {
      await write({
        'compose.yaml': `\ufeffservices:
  a:
    image: x
    environment:
      A_TOKEN: |
        ${value}
        two
      F: /run/secrets/s
    secrets:
      - s

    tty: true
secrets:
  s:
    file: s.txt`.replaceAll('\n', '\r\n'),
        's.txt': value,
      });
      await apply();
      expect(read('compose.yaml')).toBe(
        `\ufeffservices:
  a:
    image: x
    environment:
      A_TOKEN: dso://shop/a-token
      F: dsofile://shop/s

    tty: true
`.replaceAll('\n', '\r\n'),
      );
      expect(await stored('shop/a-token')).toBe(`${value}\ntwo\n`);
    });

    test('fills keys without a value, whose values are in .env', async () => {
      await write({
        'compose.yaml': `services:
  a:
    image: x
    environment:
      A_TOKEN:   # x
      B_TOKEN: ~
      "C_TOKEN":
  b: {image: x, environment: {A_TOKEN, D: y}}
  c:
    image: x
    environment:
    - A_TOKEN
`,
        '.env': `A_TOKEN=${value}\nB_TOKEN=${value}-b\nC_TOKEN=${value}-c\n`,
      });
      await apply();
      expect(read('compose.yaml')).toBe(`services:
  a:
    image: x
    environment:
      A_TOKEN: dso://shop/a-token   # x
      B_TOKEN: dso://shop/b-token
      "C_TOKEN": dso://shop/c-token
  b: {image: x, environment: {A_TOKEN: dso://shop/a-token, D: y}}
  c:
    image: x
    environment:
    - A_TOKEN=dso://shop/a-token
`);
      expect(read('.env')).toBe('');
    });

    test('leaves a line of an env file whose value other lines or files use', async () => {
      const dotEnv = `A_TOKEN=${value}\nB_TOKEN=${value}-b\nC=\${A_TOKEN}x\nD_TOKEN=${value}-d\n`;
      await write({
        'compose.yaml': `services: {a: {image: x, env_file: .env, command: "run $B_TOKEN"}}\n`,
        '.env': dotEnv,
      });
      const output = await apply();
      expect(read('.env')).toBe(dotEnv.replace(`${value}-d`, 'dso://shop/d-token'));
      for (const name of ['A_TOKEN', 'B_TOKEN'])
        expect(output).toContain(
          `  ${name} of service a: its line of .env is also a part of other values; write the reference under environment by hand\n`,
        );
    });

    test('stores a JSON text with one key so that a reference is the text', async () => {
      await write({
        'compose.yaml': `services: {a: {image: x, environment: {JSON_SECRET: '{"k":"${value}"}'}}}\n`,
      });
      await apply();
      expect(read('compose.yaml')).toContain('{JSON_SECRET: dso://shop/json-secret#value}');
      expect(await stored('shop/json-secret')).toBe(JSON.stringify({ value: `{"k":"${value}"}` }));
    });

    test('names a value that another file overrides', async () => {
      await write({
        'compose.yaml': `services: {a: {image: x, environment: {A_TOKEN: ${value}-old}}}\n`,
        'compose.override.yaml': `services: {a: {environment: {A_TOKEN: ${value}}}}\n`,
      });
      expect(await apply()).toContain(
        'A_TOKEN of service a: compose.yaml has another value of it, which is overridden\n',
      );
    });

    test('finds the places of 20,000 variables in some seconds', async () => {
      const service = (index: number): string =>
        `  s${index}:\n    extends: base\n    image: x\n    environment:\n${Array.from(
          { length: 20 },
          (_, each) => `      V${each}_TOKEN: ${value}${each}\n`,
        ).join('')}`;
      const services = Array.from({ length: 1_000 }, (_, index) => service(index)).join('');
      await write({ 'compose.yaml': `services:\n  base: {image: x}\n${services}` });
      const { code, stdout } = await dso('migrate');
      expect(code).toBe(0);
      expect(stdout).toContain('dso://shop/v19-token');
    });

    test('says what to do about secrets of a swarm', async () => {
      await write({
        'compose.yaml': `services:\n  app: {image: a, environment: {K_FILE: /run/secrets/key}, secrets: [key]}\nsecrets: {key: {external: true, name: prod_key}}\n`,
      });
      const { code, stdout } = await dso('migrate');
      expect(code).toBe(0);
      expect(stdout).toContain(
        'the secret key of service app: the engine never shows the value of prod_key; take it from where it was made, store it, and write dsofile://PATH into a variable',
      );
    });

    test.each([
      ['aws', 'dso://shop/db-password', 'file://'],
      ['vault', 'dso://secret/data/shop/db-password#value', 'value=@'],
      ['openbao', 'dso://secret/data/shop/db-password#value', 'value=@'],
      ['huawei', 'dso://shop.db-password', '--cli-jsonInput='],
    ])('prints the commands of %s, which have no values', async (type, reference, prefix) => {
      await writeFile(join(folder, 'stores.yaml'), '');
      await write({
        'compose.yaml': `services: {app: {image: a, environment: {DB_PASSWORD: ${value}}}}\n`,
      });
      const output = await apply('--provider', type);
      expect(read('compose.yaml')).toContain(`DB_PASSWORD: ${reference}}`);
      const script = output
        .split('\n')
        .filter((line) => line.startsWith('  '))
        .map((line) => line.trim())
        .join('\n');
      // The program of the store: it gets the value from the file that its argument names.
      await mkdir(join(folder, 'bin'));
      for (const name of ['aws', 'vault', 'bao', 'hcloud']) {
        await writeFile(
          join(folder, 'bin', name),
          `#!/bin/sh\necho "$*" >> ${folder}/arguments\nfor last; do :; done\ncat "\${last#${prefix}}" >> ${folder}/value\n`,
        );
        await chmod(join(folder, 'bin', name), 0o755);
      }
      const ran = await runProgram('sh', ['-ec', script], {
        env: { PATH: `${join(folder, 'bin')}:${process.env.PATH ?? ''}` },
      });
      expect(ran).toMatchObject({ code: 0, stderr: '' });
      expect(readFileSync(join(folder, 'arguments'), 'utf8')).not.toContain(canary);
      expect(readFileSync(join(folder, 'value'), 'utf8')).toBe(
        type === 'huawei'
          ? JSON.stringify({ body: { name: 'shop.db-password', secret_string: value } })
          : value,
      );
      const [, backup = ''] = /^backup {3}(\S+), /m.exec(output) ?? [];
      expect(existsSync(join(backup, 'values'))).toBe(false);
    });

    test('changes the dso.yaml of docker-secret-operator to what is read here', async () => {
      await write({
        'compose.yaml': 'services: {app: {image: a, environment: [DB_USER, DB_PASS]}}\n',
        'dso.yaml': `provider: vault

config:
  address: http://vault.example.com:8200  # ours
  token: ${value}
  mount: secret

agent:
  cache: true
  watch:
    mode: polling
    polling_interval: 20s
  restart_strategy:
    type: rolling

secrets:
  - name: mysql
    inject: env
    mappings:
      password: DB_PASS
`,
      });
      const output = await apply();
      expect(read('dso.yaml')).toBe(`provider: vault

config:
  address: http://vault.example.com:8200  # ours

agent:
  cache: true
  watch:
    mode: polling
    polling_interval: 30s

secrets:
  - name: secret/data/mysql
    inject: env
    mappings:
      password: DB_PASS
`);
      expect(output).toContain('note: the login of vault is removed, for the host logs in');
      expect(await dso('lint')).toMatchObject({ code: 0 });
    });

    describe('hostile input', () => {
      const application = (file = 'app.env'): string =>
        `services:\n  app:\n    image: my-app\n    env_file: ${file}\n`;

      test.each([
        ['a link out of the project', 'is a link to a file outside of the project'],
        ['read-only', 'is read-only'],
      ])('leaves a file alone that is %s', async (kind, reason) => {
        await write({ 'compose.yaml': application() });
        const outside = join(folder, 'outside.env');
        const file = kind === 'read-only' ? path('app.env') : outside;
        await writeFile(file, `DB_PASSWORD=${value}\n`);
        if (kind === 'read-only') await chmod(file, 0o444);
        else await symlink(outside, path('app.env'));
        const { code, stdout } = await dso('migrate', '--apply');
        expect(code).toBe(0);
        expect(stdout).toContain(`DB_PASSWORD of service app: app.env ${reason}\n`);
        expect(readFileSync(file, 'utf8')).toBe(`DB_PASSWORD=${value}\n`);
      });

      test('says which env file is too large, and moves the rest', async () => {
        await write({
          'compose.yaml': `${application()}    environment: {API_KEY: ${value}}\n`,
          'app.env': `DB_PASSWORD=${value}\n${'#'.repeat(1_048_576)}\n`,
        });
        const { code, stdout } = await dso('migrate', '--apply');
        expect(code).toBe(0);
        expect(stdout).toContain('  app.env: it has more than 1 MiB\n');
        expect(stdout).toContain(
          'DB_PASSWORD of service app: its place in the Compose files was not',
        );
        expect(read('compose.yaml')).toContain('API_KEY: dso://shop/api-key');
      });

      test('changes the file behind a link in the project', async () => {
        await write({ 'compose.yaml': application(), 'env/real.env': `DB_PASSWORD=${value}\n` });
        await symlink('env/real.env', path('app.env'));
        await apply();
        expect(read('env/real.env')).toBe('DB_PASSWORD=dso://shop/db-password\n');
      });

      test('refuses a backup in the repository', async () => {
        await write({ 'compose.yaml': application(), 'app.env': `DB_PASSWORD=${value}\n` });
        const { code, stderr } = await runProgram('docker', ['dso', 'migrate', '--apply'], {
          cwd: path(''),
          env: { ...env(), XDG_STATE_HOME: path('.state') },
        });
        expect(code).toBe(1);
        expect(stderr).toMatch(
          /^docker dso: the backup would be in the project, at .*; set XDG_STATE_HOME/,
        );
        expect(read('app.env')).toContain(value);
      });

      test('says nothing of what stands in a file that Compose cannot read', async () => {
        await write({ 'compose.yaml': application(), 'app.env': `${value}!=x y\n"` });
        const { code, stderr } = await dso('migrate');
        expect(code).toBe(1);
        expect(stderr).toBe(
          'docker dso: docker compose config fails; run it to see why, and correct the files first\n',
        );
      });

      test('refuses to write over another value of the store', async () => {
        await write({ 'compose.yaml': application(), 'app.env': `DB_PASSWORD=${value}\n` });
        await runProgram(process.execPath, [
          ...[
            bundle,
            'local',
            '--store',
            join(folder, 'store.age'),
            '--key',
            join(folder, 'store.key'),
          ],
          ...['set', 'shop/db-password', '--from-file', path('compose.yaml')],
        ]);
        expect(await dso('migrate', '--apply')).toMatchObject({
          code: 1,
          stderr:
            'docker dso: the local store has another value of shop/db-password; nothing was written; give other paths with --prefix\n',
        });
        expect(read('app.env')).toContain(value);
        expect(readdirSync(join(folder, 'home/.local/state/dso/backups'))).toEqual([]);
        expect(await apply('--prefix', 'shop/prod')).toContain('dso://shop/prod/db-password');
      });

      test('puts all files back if Compose would see another application', async () => {
        // The anchor is a variable and a label.
        await write({
          'compose.yaml': `x-a: &key ${value}\nservices: {app: {image: a, labels: {k: *key}, environment: {API_KEY: *key}}}\n`,
        });
        const before = read('compose.yaml');
        const { code, stderr } = await dso('migrate', '--apply');
        expect(code).toBe(1);
        expect(stderr).toMatch(
          /^docker dso: the change would alter services\.app\.labels in another way than intended; all files are as they were before; the backup is in .*; leave the variable out/,
        );
        expect(read('compose.yaml')).toBe(before);
      });
    });

    test('starts an application that has moved with its values', async () => {
      const environment = await startDockerEnvironment();
      try {
        const shop = await environment.project('moved', {
          'compose.yaml': `services:
  app:
    image: ${testImages.busybox}
    command: sleep 600
    environment:
      DB_PASSWORD: \${DB_PASSWORD}
      JSON_SECRET: '{"k":"${value}"}'
      KEY_FILE: /run/secrets/key
    secrets: [key]
secrets: {key: {file: key.txt}}
`,
          '.env': `DB_PASSWORD=${value}\n`,
          'key.txt': `${value}-key`,
        });
        const options = {
          env: {
            DSO_USER_CONFIG: environment.path('dso.yaml'),
            XDG_STATE_HOME: environment.path('backups'),
          },
        };
        await shop.dsoOutput(['migrate', '--apply'], options);
        await shop.dsoOutput(['up', '-d']);
        const script = 'echo "$DB_PASSWORD $JSON_SECRET"; cat "$KEY_FILE"';
        expect(await shop.compose(['exec', '-T', 'app', 'sh', '-c', script])).toBe(
          `${value} {"k":"${value}"}\n${value}-key`,
        );
        const shown = await environment.engine.output(['inspect', containerOf(shop, 'app')]);
        expect(shown).not.toContain(canary);
      } finally {
        await environment.stop();
      }
    }, 300_000);
  },
);
