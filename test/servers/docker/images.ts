import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
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
 * Makes `postgres:15` as far as a Compose file sees it: POSTGRES_USER, POSTGRES_PASSWORD, port
 * 5432. The programs are those of the machine: the service mounts `/usr:/usr:ro`.
 */
export async function importPostgresImage(engine: Engine): Promise<void> {
  const postgres = (await postgresProgram('postgres')) ?? 'postgres';
  await importImage(engine, {
    name: 'postgres:15',
    texts: { ...users, 'entrypoint.sh': postgresEntrypoint },
    links: { bin: 'usr/bin', lib: 'usr/lib', lib64: 'usr/lib64' },
    directories: ['tmp', 'usr', 'var'],
    changes: [
      `ENV PATH=${dirname(postgres)}:${shellPath}`,
      'ENTRYPOINT ["/entrypoint.sh"]',
      'CMD ["postgres"]',
      'EXPOSE 5432',
      'USER nobody',
    ],
  });
}

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
