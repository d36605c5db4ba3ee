import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { programInPath } from './go-program.ts';
import { freePorts, startProgram, type StartedProgram } from './started-program.ts';

const run = promisify(execFile);
/** The user `nobody` of Debian: PostgreSQL does not run as root. */
const nobodyUid = 65_534;
const debianDirectory = '/usr/lib/postgresql';

/** What this machine lacks to run PostgreSQL, as text. */
export async function missingPostgresDependencies(): Promise<readonly string[]> {
  const missing: string[] = [];
  for (const name of ['initdb', 'postgres', 'psql'])
    if ((await postgresProgram(name)) === undefined)
      missing.push(`${name} (Debian: apt-get install postgresql)`);
  if (isRoot() && (await programInPath('setpriv')) === undefined)
    missing.push('setpriv (Debian: util-linux), to run PostgreSQL as a user other than root');
  return missing;
}

/**
 * A separate PostgreSQL on a free port of 127.0.0.1, in a temporary directory that is removed with
 * it.
 */
export async function startPostgres() {
  const directory = await mkdtemp(join(tmpdir(), 'kf-postgres-'));
  const [data, passwordFile] = [join(directory, 'data'), join(directory, 'password')];
  const password = randomBytes(16).toString('hex');
  const [port = 0] = await freePorts(1);
  await writeFile(passwordFile, password);
  if (isRoot())
    for (const path of [directory, passwordFile]) await chown(path, nobodyUid, nobodyUid);

  const initdb = await unprivileged('initdb');
  const initdbFlags = [
    '--username=admin',
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--locale=C',
    '--no-sync',
  ];
  await run(initdb.program, [...initdb.args, `--pgdata=${data}`, ...initdbFlags]);
  const postgres = await unprivileged('postgres');

  /**
   * The rows of a result, columns separated by `|`.
   * @throws Error with the message of PostgreSQL
   */
  async function query(sql: string, credentials = { user: 'admin', password }): Promise<string[]> {
    const psql = (await postgresProgram('psql')) ?? 'psql';
    const connectionFlags = [
      '--host=127.0.0.1',
      `--port=${port}`,
      `--username=${credentials.user}`,
      '--dbname=postgres',
    ];
    const { stdout } = await run(
      psql,
      [...connectionFlags, '--no-psqlrc', '--tuples-only', '--no-align', `--command=${sql}`],
      {
        env: { PGPASSWORD: credentials.password, PGCONNECT_TIMEOUT: '5' },
      },
    );
    return stdout.split('\n').filter((line) => line !== '');
  }

  const start = (): Promise<StartedProgram> =>
    startProgram({
      program: postgres.program,
      args: [
        ...postgres.args,
        ...['-D', data, '-p', `${port}`, '-h', '127.0.0.1', '-k', '', '-F'],
        ...['-c', 'shared_buffers=16MB', '-c', 'max_connections=50'],
      ],
      isReady: async () => (await query('select 1')).length === 1,
    });
  let server = await start();

  return {
    port,
    user: 'admin',
    password,
    query,
    /** The names of the users who may log in, without the administrator. */
    users: () =>
      query("select rolname from pg_roles where rolcanlogin and rolname <> 'admin' order by 1"),
    /** Whether these credentials work now. */
    canLogIn: (user: string, loginPassword: string): Promise<boolean> =>
      query('select 1', { user, password: loginPassword }).then(
        () => true,
        () => false,
      ),
    /** Stops it at once, like a database that fails. */
    kill: () => server.stop('SIGQUIT'),
    async restart(): Promise<void> {
      server = await start();
    },
    async stop(): Promise<void> {
      await server.stop('SIGQUIT');
      await rm(directory, { recursive: true });
    },
  };
}

export type Postgres = Awaited<ReturnType<typeof startPostgres>>;

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * The path of a PostgreSQL program, from PATH or from the directories of Debian, latest version
 * first.
 */
export async function postgresProgram(name: string): Promise<string | undefined> {
  const versions = (await readdir(debianDirectory).catch(() => [])).sort(
    (a, b) => Number(b) - Number(a),
  );
  const directories = versions.map((version) => join(debianDirectory, version, 'bin'));
  return (await programInPath(name)) ?? (await programInPath(name, directories.join(':')));
}

/** The options to run it as a user who is not root. */
async function unprivileged(name: string): Promise<{ program: string; args: readonly string[] }> {
  const program = (await postgresProgram(name)) ?? name;
  if (!isRoot()) return { program, args: [] };
  const setpriv = (await programInPath('setpriv')) ?? 'setpriv';
  return {
    program: setpriv,
    args: [`--reuid=${nobodyUid}`, `--regid=${nobodyUid}`, '--clear-groups', program],
  };
}
