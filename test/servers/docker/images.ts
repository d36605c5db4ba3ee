import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { programInPath } from '../go-program.ts';
import { postgresProgram } from '../postgres.ts';
import { runProgram } from './run-program.ts';
import type { Engine } from './engine.ts';

/** An image to make from files, as `docker import` makes it. */
export type ImageOptions = {
  readonly name: string;
  /** Files of the machine by their paths in the image. They are executable. */
  readonly programs?: Readonly<Record<string, string>>;
  /** Texts by their paths in the image. They are executable. */
  readonly texts?: Readonly<Record<string, string>>;
  /** Targets of symbolic links by their paths in the image. */
  readonly links?: Readonly<Record<string, string>>;
  /** All can write to `tmp`. */
  readonly directories?: readonly string[];
  /** Lines of a Dockerfile: `CMD`, `ENTRYPOINT`, `ENV`, `HEALTHCHECK`, `USER` and so on. */
  readonly changes?: readonly string[];
};

/** Makes an image without a registry and without a build. */
export async function importImage(
  engine: Engine,
  { name, programs = {}, texts = {}, links = {}, directories = [], changes = [] }: ImageOptions,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'kf-image-'));
  const place = async (path: string): Promise<string> => {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    return join(directory, path);
  };
  try {
    for (const path of directories) {
      await mkdir(join(directory, path), { recursive: true });
      if (path === 'tmp') await chmod(join(directory, path), 0o1777);
    }
    for (const [path, source] of Object.entries(programs)) {
      await copyFile(source, await place(path));
      await chmod(join(directory, path), 0o755);
    }
    for (const [path, text] of Object.entries(texts))
      await writeFile(await place(path), text, { mode: 0o755 });
    for (const [path, target] of Object.entries(links)) await symlink(target, await place(path));
    const archive = `${directory}.tar`;
    const packed = await runProgram('tar', ['-C', directory, '-cf', archive, '.'], {
      env: { PATH: process.env.PATH ?? '' },
    });
    if (packed.code !== 0) throw new Error(packed.stderr);
    const changeFlags = changes.flatMap((change) => ['--change', change]);
    await engine.output(['import', ...changeFlags, archive, name]);
    await rm(archive);
  } finally {
    await rm(directory, { recursive: true });
  }
}

/**
 * Makes an image as far as a Compose file sees that of PostgreSQL: POSTGRES_USER,
 * POSTGRES_PASSWORD, port 5432. The programs are those of the machine, with their libraries.
 */
export async function importPostgresImage(engine: Engine, name: string): Promise<void> {
  // In PATH, Debian has scripts instead of some programs.
  const folder = dirname(await realpath((await postgresProgram('postgres')) ?? 'postgres'));
  const tools = ['postgres', 'initdb', 'psql', 'pg_isready'].map((tool) => join(folder, tool));
  const { stdout } = await runProgram(join(folder, 'pg_config'), ['--sharedir', '--pkglibdir']);
  const [share = '', libraries = ''] = stdout.trim().split('\n');
  const extensions = ['plpgsql.so', 'dict_snowball.so'].map((file) => join(libraries, file));
  const shared = await readdir(share, { recursive: true, withFileTypes: true });
  const paths = [
    ...tools,
    ...extensions,
    ...['UTC', 'Etc/UTC'].map((zone) => join('/usr/share/zoneinfo', zone)),
    ...(await Promise.all([...tools, ...extensions].map(librariesOf))).flat(),
    ...shared.filter((each) => each.isFile()).map((each) => join(each.parentPath, each.name)),
  ];
  const busybox = (await programInPath('busybox')) ?? 'busybox';
  await importImage(engine, {
    name,
    programs: { ...sameInImage(paths), 'bin/busybox': busybox },
    texts: { ...users, 'entrypoint.sh': postgresEntrypoint },
    links: Object.fromEntries(
      ['sh', 'env', 'rm', 'printenv'].map((each) => [`bin/${each}`, 'busybox']),
    ),
    directories: ['tmp', 'var'],
    changes: [
      `ENV PATH=${folder}:${shellPath}`,
      'ENTRYPOINT ["/entrypoint.sh"]',
      'CMD ["postgres"]',
      'EXPOSE 5432',
      'USER nobody',
    ],
  });
}

/** Makes the image of the agent as the Dockerfile does, with Node of this machine. */
export async function importAgentImage(engine: Engine, name: string): Promise<void> {
  const repository = join(import.meta.dirname, '../../..');
  const dockerfile = await readFile(join(repository, 'Dockerfile'), 'utf8');
  const changes = dockerfile.match(/^(ENV|ENTRYPOINT) .*$/gm) ?? [];
  const architecture = process.arch === 'arm64' ? 'arm64' : 'amd64';
  const shim = `dso-shim-linux-${architecture}`;
  const dist = (file: string): string => join(repository, 'dist', file);
  await importImage(engine, {
    name,
    programs: {
      'usr/bin/node': process.execPath,
      ...sameInImage(await librariesOf(process.execPath)),
      'keyferry.js': dist('keyferry.js'),
      'docker-dso': dist('docker-dso'),
      'usr/bin/dso': join(repository, 'scripts/image/dso'),
      'usr/bin/mount': dist(`shim/mount-linux-${architecture}`),
      [`shim/${shim}`]: dist(`shim/${shim}`),
    },
    directories: ['tmp'],
    changes: ['ENV PATH=/usr/bin', ...changes, 'USER 0:0', 'CMD ["docker-agent"]'],
  });
}

/** The shared libraries of a program of this machine. */
async function librariesOf(program: string): Promise<readonly string[]> {
  const { stdout } = await runProgram('ldd', [program], { env: { PATH: process.env.PATH ?? '' } });
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map(([, path = '']) => path);
}

/** Files that have the same path in an image. */
const sameInImage = (paths: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(paths.map((path) => [path.slice(1), path]));

const postgresEntrypoint = `#!/bin/sh
set -e
export PGDATA=/tmp/data
if [ ! -e $PGDATA ]; then
  printf %s "$POSTGRES_PASSWORD" > /dev/shm/password
  initdb --username="\${POSTGRES_USER:-postgres}" --pwfile=/dev/shm/password --auth=scram-sha-256 \
    --locale=C --no-sync > /dev/null
  rm /dev/shm/password
  echo 'host all all all scram-sha-256' >> $PGDATA/pg_hba.conf
fi
exec "$@" -c 'listen_addresses=*' -c unix_socket_directories=/tmp -c shared_buffers=16MB -F
`;

/** Root, a user and `nobody`. */
const users = {
  'etc/passwd': [
    'root:x:0:0:root:/root:/bin/sh',
    'app:x:1000:1000:app:/home/app:/bin/sh',
    'nobody:x:65534:65534:nobody:/:/bin/false',
    '',
  ].join('\n'),
  'etc/group': 'root:x:0:\napp:x:1000:\nnogroup:x:65534:\n',
};

const shellPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The images of the suite. */
export const testImages = {
  /** Busybox with its usual names, and `stay`, which runs until it is stopped. */
  busybox: 'kf/busybox:1',
  /** Like an application: entrypoint, command, health check, user and a directory of its own. */
  application: 'kf/application:1',
  /** One static program and nothing else: no shell, no `env`, no /etc/passwd. */
  scratch: 'kf/scratch:1',
} as const;

/** Makes {@link testImages}. */
export async function importTestImages(engine: Engine): Promise<void> {
  const busybox = (await programInPath('busybox')) ?? 'busybox';
  const { stdout: applets } = await runProgram(busybox, ['--list'], {});
  const links = Object.fromEntries(
    applets
      .split('\n')
      // The list has the name of the program itself.
      .filter((applet) => applet !== '' && applet !== 'busybox')
      .map((applet) => [`bin/${applet}`, 'busybox']),
  );
  const shell = {
    programs: { 'bin/busybox': busybox },
    links,
    directories: ['etc', 'home/app', 'root', 'tmp', 'usr/bin', 'var/run', 'work'],
  };
  await importImage(engine, {
    ...shell,
    name: testImages.busybox,
    texts: { ...users, 'usr/bin/stay': '#!/bin/sh\ntrap "exit 0" TERM\nsleep 3600 &\nwait\n' },
    changes: [`ENV PATH=${shellPath}`, 'CMD ["sh"]'],
  });
  await importImage(engine, {
    ...shell,
    name: testImages.application,
    texts: {
      ...users,
      'usr/bin/start-app':
        '#!/bin/sh\nprintf "arguments: %s\\n" "$*" > /tmp/started\nexec sleep "$2"\n',
      'usr/bin/check-app': '#!/bin/sh\n[ -e /tmp/started ] && [ -n "$DB_PASSWORD" ]\n',
    },
    changes: [
      `ENV PATH=${shellPath}`,
      'ENTRYPOINT ["start-app"]',
      'CMD ["sleep", "3600"]',
      'HEALTHCHECK --interval=1s --retries=30 CMD check-app',
      'USER app',
      'WORKDIR /work',
    ],
  });
  await importImage(engine, {
    name: testImages.scratch,
    programs: { busybox },
    changes: ['ENTRYPOINT ["/busybox", "sleep"]', 'CMD ["3600"]'],
  });
}
