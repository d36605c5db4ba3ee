import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  statfsSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeIfAvailable } from '../../../test/if-available.ts';
import { findLocalPlaces, prepareLocalPlaces, userConfigFile } from './user-places.ts';

const isTmpfs = (directory: string): boolean => statfsSync(directory).type === 0x01021994;
const noShm = process.platform === 'linux' && isTmpfs('/dev/shm') ? [] : ['a tmpfs at /dev/shm'];
const userId = process.getuid?.();

describe('the configuration of a user', () => {
  test.each([
    [{ HOME: '/home/a' }, 1000, '/home/a/.config/dso/dso.yaml'],
    [{ HOME: '/home/a', XDG_CONFIG_HOME: '/c' }, 1000, '/c/dso/dso.yaml'],
    [{ HOME: '/home/a', XDG_CONFIG_HOME: 'relative' }, 1000, '/home/a/.config/dso/dso.yaml'],
    [{ HOME: '/root' }, 0, '/etc/dso/dso.yaml'],
    [{ HOME: '/root', DSO_USER_CONFIG: '/ci/dso.yaml' }, 0, '/ci/dso.yaml'],
  ])('with %j for the user %d is %s', (env, user, file) => {
    expect(userConfigFile(env, user)).toBe(file);
  });
});

describeIfAvailable('a tmpfs', noShm)('the directory of local mode', () => {
  let runtime: string;
  beforeEach(() => void (runtime = mkdtempSync('/dev/shm/kf-places-')));
  afterEach(() => rmSync(runtime, { recursive: true }));
  const env = () => ({ XDG_RUNTIME_DIR: runtime });

  test('is below the runtime directory of the user, who alone can enter it', async () => {
    const places = await prepareLocalPlaces(env());
    expect(places).toEqual({
      directory: join(runtime, 'dso'),
      volumes: join(runtime, 'dso/volumes'),
      records: join(runtime, 'dso/services'),
    });
    for (const path of Object.values(places)) expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(await prepareLocalPlaces(env())).toEqual(places);
    expect(await findLocalPlaces(env())).toEqual(places);
  });

  test('is where a link leads, because the engine is told the real path', async () => {
    const link = join(runtime, 'link');
    mkdirSync(join(runtime, 'real'));
    symlinkSync(join(runtime, 'real'), link);
    const { volumes } = await prepareLocalPlaces({ XDG_RUNTIME_DIR: link });
    expect(volumes).toBe(join(runtime, 'real/dso/volumes'));
  });

  test('is refused on a disk', async () => {
    const disk = mkdtempSync(join(tmpdir(), 'kf-places-'));
    if (!isTmpfs(disk))
      await expect(prepareLocalPlaces({ XDG_RUNTIME_DIR: disk })).rejects.toMatchObject({
        code: 'NOT_CONFIGURED',
        message: `local mode cannot keep secrets in ${disk}: it is on a disk, and must be a tmpfs`,
        hint: 'set XDG_RUNTIME_DIR to a directory of yours on a tmpfs, with mode 0700',
      });
    rmSync(disk, { recursive: true });
  });

  test('is refused if it is not there, or belongs to another user', async () => {
    await expect(prepareLocalPlaces({ XDG_RUNTIME_DIR: '/nowhere' })).rejects.toMatchObject({
      message: 'local mode cannot keep secrets in /nowhere: there is no such directory',
    });
    await expect(prepareLocalPlaces({}, 4_000_000)).rejects.toMatchObject({
      message: 'local mode cannot keep secrets in /run/user/4000000: there is no such directory',
    });
    await expect(prepareLocalPlaces(env(), (userId ?? 0) + 1)).rejects.toMatchObject({
      message: expect.stringContaining(`it belongs to the user ${userId}, and not to you`),
    });
  });

  test('is refused if others can enter it, or if it is a link', async () => {
    mkdirSync(join(runtime, 'dso'));
    chmodSync(join(runtime, 'dso'), 0o755);
    await expect(prepareLocalPlaces(env())).rejects.toMatchObject({
      message: `others have rights to the directory ${runtime}/dso`,
    });
    rmSync(join(runtime, 'dso'), { recursive: true });
    symlinkSync('/dev/shm', join(runtime, 'dso'));
    await expect(prepareLocalPlaces(env())).rejects.toMatchObject({
      message: `${runtime}/dso is not a directory of its own`,
    });
  });
});
