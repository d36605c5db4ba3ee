import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { SecretError } from '../../core/errors.ts';
import { readDsoConfig } from '../config/read.ts';
import { type InitDeps, type LocalStorePaths, initCommand } from './init.ts';

const canary = 'canary-57b0-not-to-be-seen';
let directory: string;
let config: string;

beforeEach(() => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'keyferry-init-')));
  config = join(directory, 'dso.yaml');
});
afterEach(() => rmSync(directory, { recursive: true }));

type Run = Partial<InitDeps> & { readonly input?: string | Readable; readonly noConfig?: true };

/** What a call prints. */
async function init(args: readonly string[], { input = '', noConfig, ...deps }: Run = {}) {
  const output = { out: '', err: '' };
  const sink = (name: 'out' | 'err') =>
    new Writable({
      write: (chunk: Buffer, _, done) => {
        output[name] += chunk.toString();
        done();
      },
    });
  const command = initCommand({
    env: {},
    stdin: typeof input === 'string' ? Readable.from([Buffer.from(input)]) : input,
    stdout: sink('out'),
    stderr: sink('err'),
    userId: 0,
    calledAs: 'docker dso',
    makeLocalStore: () => Promise.reject(new Error('not asked for')),
    ...deps,
  });
  command.exitOverride().configureOutput({ writeErr: (text) => void (output.err += text) });
  const where = noConfig === true ? [] : ['--config', config];
  await command.parseAsync([...args, ...where], { from: 'user' });
  expect(output.out + output.err).not.toContain(canary);
  return output;
}

async function failureOf(...args: Parameters<typeof init>): Promise<string> {
  try {
    await init(...args);
  } catch (thrown) {
    if (!(thrown instanceof Error)) throw thrown;
    const text = thrown instanceof SecretError ? thrown.summary : thrown.message;
    expect(text).not.toContain(canary);
    expect(text).not.toContain('\n');
    expect(text.length).toBeLessThan(700);
    return text;
  }
  return 'accepted';
}

const written = (): string => readFileSync(config, 'utf8');
const credential = (name: string): string => join(directory, 'credentials', name);
const modeOf = (path: string): number => statSync(path).mode & 0o777;
const vault = '--mode cloud --provider vault --vault-address https://vault.example.com:8200'.split(
  ' ',
);
const approle = [...vault, ...'--vault-auth-method approle --vault-role-id 1b2c'.split(' ')];

describe('docker dso init', () => {
  test('takes the command of the guide for AWS', async () => {
    const arn = 'arn:aws:iam::123456789:role/ContainerSecretsRole';
    const { out, err } = await init(
      `--mode cloud --provider aws --aws-region us-east-1 --aws-role-arn ${arn}`.split(' '),
    );
    expect(out).toContain(`config      ${config} (new)\nstore       aws (us-east-1, ${arn})\n`);
    expect(err).toBe(
      'note: --aws-role-arn has the account 123456789, of 9 digits; accounts of AWS have 12\n',
    );
    const store = readDsoConfig(written(), config).config?.providers.get('aws');
    expect(store).toMatchObject({ type: 'aws', region: 'us-east-1', roleArn: arn });
    expect(modeOf(config)).toBe(0o600);
  });

  test('takes the commands of the guide for Vault, and keeps what the second does not name', async () => {
    await init([...approle, '--vault-secret-id', `${canary}-1`]);
    const first = written();
    expect(first).not.toContain(canary);
    expect(readFileSync(credential('vault.secret_id'), 'utf8')).toBe(`${canary}-1`);
    expect(modeOf(credential('vault.secret_id'))).toBe(0o600);
    expect(modeOf(join(directory, 'credentials'))).toBe(0o700);
    const again = '--mode cloud --provider vault --vault-role-id 3d4e --vault-secret-id'.split(' ');
    await init([...again, `${canary}-2`]);
    expect(written()).toBe(first.replace('1b2c', '3d4e'));
    expect(readFileSync(credential('vault.secret_id'), 'utf8')).toBe(`${canary}-2`);
    expect(readdirSync(directory).sort()).toEqual(['credentials', 'dso.yaml']);
    expect(readdirSync(join(directory, 'credentials'))).toEqual(['vault.secret_id']);
  });

  test.each([
    ['huawei', 'ap-southeast-3'],
    ['alibabacloud', 'cn-hangzhou'],
  ])('keeps the keys of %s out of dso.yaml', async (type, region) => {
    const flags = `--provider ${type} --${type}-region ${region} --${type}-access-key AK --${type}-secret-key -`;
    await init(flags.split(' '), { input: `${canary}\n` });
    expect(readFileSync(credential(`${type}.secret_key`), 'utf8')).toBe(canary);
    const auth = readDsoConfig(written(), config).config?.providers.get(type)?.auth;
    expect(auth?.method).toBe('access_key');
    expect(auth?.params.get('secret_key_file')).toBe(credential(`${type}.secret_key`));
  });

  test.each([
    ['an argument', ['--vault-secret-id', canary], ''],
    ['standard input', ['--vault-secret-id', '-'], `${canary}\r\n`],
    ['a file', ['--vault-secret-id-file', 'FILE'], ''],
  ])('reads a secret id from %s', async (_, args, input) => {
    const file = join(directory, 'given');
    writeFileSync(file, `${canary}\n`);
    const { err } = await init([...approle, ...args.map((arg) => arg.replace('FILE', file))], {
      input,
    });
    expect(readFileSync(credential('vault.secret_id'), 'utf8')).toBe(canary);
    expect(err.includes('other users of this host could see')).toBe(args.includes(canary));
    expect(err).toMatch(
      /^note: the secret id can expire .* token_max_ttl; see secret_id_ttl in: /m,
    );
  });

  test('keeps comments and other stores', async () => {
    const text =
      '# ours\nproviders:\n  aws:\n    type: aws # main\nagent:\n  watch: {polling_interval: 1m}\n';
    writeFileSync(config, text, { mode: 0o640 });
    await init(vault);
    expect(written().startsWith('# ours\nproviders:\n  aws:\n    type: aws # main\n')).toBe(true);
    expect(written()).toContain('agent:\n  watch: {polling_interval: 1m}\n');
    expect(modeOf(config)).toBe(0o640);
  });

  test('changes nothing when it is called again', async () => {
    await init(approle);
    const before = statSync(config).ino;
    expect((await init(approle)).out).toContain('(unchanged)');
    expect(statSync(config).ino).toBe(before);
  });

  test('removes the credential of a method that is not used any more', async () => {
    await init([...approle, '--vault-secret-id', canary]);
    const { out } = await init(
      '--provider vault --vault-auth-method jwt --vault-role app --vault-token-file /run/token'.split(
        ' ',
      ),
    );
    expect(out).toContain(`removed     ${credential('vault.secret_id')}`);
    expect(existsSync(credential('vault.secret_id'))).toBe(false);
    expect(readDsoConfig(written(), config).config?.providers.get('vault')?.auth).toMatchObject({
      method: 'jwt',
      params: new Map([
        ['role', 'app'],
        ['token_file', '/run/token'],
      ]),
    });
  });

  test('names files by absolute paths, because the agent has another directory', async () => {
    await init([...vault, '--vault-ca-file', 'ca.pem', '--vault-cert-file', 'c.pem']);
    expect(written()).toContain(`ca_file: ${join(process.cwd(), 'ca.pem')}\n`);
    expect(written()).toContain(`cert_file: ${join(process.cwd(), 'c.pem')}\n`);
  });

  test('writes the file behind a link', async () => {
    const real = join(directory, 'real.yaml');
    writeFileSync(real, '');
    symlinkSync(real, config);
    await init(vault);
    expect(readFileSync(real, 'utf8')).toContain('type: vault');
  });

  describe('with --mode local', () => {
    const made: LocalStorePaths[] = [];
    const makeLocalStore: InitDeps['makeLocalStore'] = (paths) => {
      made.push(paths);
      return Promise.resolve({ storeFile: '/s', keyFile: '/k', isNew: true, ...paths });
    };
    beforeEach(() => void (made.length = 0));

    test('makes the store of the host', async () => {
      const { out } = await init(['--mode', 'local'], { makeLocalStore });
      expect(made).toEqual([{}]);
      expect(out).toContain(
        'encrypted   /s (new; without its key it cannot be read)\nkey         /k\n',
      );
      expect(written()).toContain('type: local');
    });

    test('says what to call next as it was called: before system setup there is no plugin', async () => {
      const calledAs = '/src/dist/docker-dso';
      expect((await init(['--mode', 'local'], { makeLocalStore, calledAs })).out).toContain(
        'next        sudo /src/dist/docker-dso system setup, or',
      );
      const options = { makeLocalStore, calledAs, userId: 1000, env: { HOME: '/home/a' } };
      expect((await init(['--mode', 'local'], options)).out).toContain(
        'next        /src/dist/docker-dso --mode local up -d\n',
      );
    });

    test('makes the store of a user with the data of the user', async () => {
      await init(['--mode', 'local'], { makeLocalStore, userId: 1000, env: { HOME: '/home/a' } });
      const below = '/home/a/.local/share/keyferry/store';
      expect(made).toEqual([{ storeFile: `${below}.age`, keyFile: `${below}.key` }]);
    });

    test('writes the configuration of a user, and says how to use it', async () => {
      const env = { HOME: '/home/a', XDG_CONFIG_HOME: directory };
      const options = { makeLocalStore, userId: 1000, env, noConfig: true as const };
      const { out } = await init(['--mode', 'local'], options);
      const file = join(directory, 'dso/dso.yaml');
      expect(out).toContain(`config      ${file} (new)\n`);
      expect(out).toContain('next        docker dso --mode local up -d\n');
      expect(readFileSync(file, 'utf8')).toContain('/home/a/.local/share/keyferry/store.age');
    });
  });

  test.each([
    ['', 'init needs to know the type of the store; give --provider'],
    ['--mode cloud', 'init needs to know the type'],
    ['--mode local --provider aws', '--mode local has no provider aws'],
    ['--provider aws --vault-role-id 1', '--vault-role-id is an option of vault, and not of aws'],
    ['--provider aws --aws-region us_east', '--aws-region us_east is not the name of a region'],
    ['--provider aws --aws-role-arn role', '--aws-role-arn role is not the ARN of a role'],
    ['--provider vault --vault-address vault', '--vault-address vault must be a URL'],
    ['--provider vault --vault-address ftp://v', 'must be a URL'],
    [
      '--provider vault --vault-auth-method ldap',
      'ldap is not a method of vault; its methods are token, approle',
    ],
    [
      '--provider vault --vault-address https://v --vault-secret-id-file /no/such/file',
      'cannot read /no/such/file: no such file',
    ],
    ['--provider aws --store a/b', 'with this change line'],
    ['--provider nope', "'nope' is invalid"],
  ])('refuses: init %s', async (args, message) => {
    expect(await failureOf(args.split(' ').filter(Boolean))).toContain(message);
    expect(readdirSync(directory)).toEqual([]);
  });

  test.each([
    ['a line break in a region', ['--aws-region', 'us-east-1\nprovider: x'], 'line break'],
    ['an empty region', ['--aws-region', ''], 'is empty'],
    [
      'a huge ARN',
      ['--aws-role-arn', `arn:aws:iam::1:role/${'a'.repeat(1_000_000)}`],
      'characters',
    ],
    [
      'a control character',
      ['--aws-role-arn', 'arn:aws:iam::1:role/\u001b[2J'],
      'control character',
    ],
  ])('refuses %s', async (_, args, message) => {
    expect(await failureOf(['--provider', 'aws', ...args])).toContain(message);
    expect(readdirSync(directory)).toEqual([]);
  });

  test('refuses a URL with a password without showing it', async () => {
    const url = `https://user:${canary}@vault.example.com:8200`;
    expect(await failureOf(['--provider', 'vault', '--vault-address', url])).toBe(
      '--vault-address must have no user and no password in it; check its value',
    );
  });

  test.each([
    ['an empty one', ''],
    ['one with a line break', `${canary}\nx`],
    ['one with a NUL', `${canary}\0`],
    ['one of a megabyte', canary.repeat(50_000)],
  ])('refuses a secret id: %s', async (_, input) => {
    expect(await failureOf([...approle, '--vault-secret-id', '-'], { input })).toMatch(
      /^--vault-secret-id /,
    );
    expect(readdirSync(directory)).toEqual([]);
  });

  test('refuses to read a secret id from a terminal', async () => {
    const input = Object.assign(Readable.from([]), { isTTY: true });
    expect(await failureOf([...approle, '--vault-secret-id', '-'], { input })).toContain(
      'is read from standard input, a terminal; pipe it in',
    );
  });

  test('refuses a link at the place of a credential', async () => {
    mkdirSync(join(directory, 'credentials'), { mode: 0o700 });
    const target = join(directory, 'target');
    writeFileSync(target, 'before');
    symlinkSync(target, credential('vault.secret_id'));
    expect(await failureOf([...approle, '--vault-secret-id', canary])).toContain(
      `${credential('vault.secret_id')} is a symbolic link; remove the link`,
    );
    expect(readFileSync(target, 'utf8')).toBe('before');
    expect(existsSync(config)).toBe(false);
  });

  test('refuses a directory of credentials that others can read, or that is a link', async () => {
    mkdirSync(join(directory, 'credentials'));
    chmodSync(join(directory, 'credentials'), 0o755);
    expect(await failureOf([...approle, '--vault-secret-id', canary])).toContain(
      'others have rights to the directory',
    );
    rmSync(join(directory, 'credentials'), { recursive: true });
    symlinkSync(tmpdir(), join(directory, 'credentials'));
    expect(await failureOf([...approle, '--vault-secret-id', canary])).toContain(
      'is not a directory of its own',
    );
  });

  test('says to use sudo without root and without --config', async () => {
    expect(await failureOf(vault, { userId: 1000, noConfig: true })).toBe(
      'only root can write /etc/dso/dso.yaml; call it again with sudo, or write yours, which --mode local reads: --config /.config/dso/dso.yaml',
    );
  });

  test('leaves a file with a fault as it is', async () => {
    writeFileSync(config, 'providers: {aws: {type: aws, regoin: x}}\n');
    expect(await failureOf(vault)).toMatch(
      /with this change line 1 of .* has a fault: unknown key/,
    );
    expect(written()).toBe('providers: {aws: {type: aws, regoin: x}}\n');
  });
});
