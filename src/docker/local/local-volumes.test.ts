import { afterEach, beforeEach, expect, test } from '@jest/globals';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Delivery } from '../delivery/deliver.ts';
import type { Injection } from '../model/types.ts';
import { LocalCleanup } from './local-cleanup.ts';
import { LocalRecords } from './local-records.ts';
import { writeLocalVolumes } from './local-volumes.ts';

let runtime: string;
let shim: string;
const places = () => ({
  directory: join(runtime, 'dso'),
  volumes: join(runtime, 'dso/volumes'),
  records: join(runtime, 'dso/services'),
});
beforeEach(() => {
  runtime = mkdtempSync(join(tmpdir(), 'kf-local-'));
  for (const path of Object.values(places())) mkdirSync(path, { mode: 0o700 });
  shim = join(runtime, 'dso/shim');
  writeFileSync(shim, 'the shim', { mode: 0o555 });
});
afterEach(() => rmSync(runtime, { recursive: true }));

const injection: Injection = {
  ...{ project: 'shop', service: 'app', exec: 'on' },
  variables: [{ name: 'PASSWORD', ref: { path: 'db' } }],
  files: [{ path: 'tls', ref: { path: 'tls' } }],
};
const deliveryOf = (password: string, tls: string): Delivery => ({
  env: Buffer.from(`PASSWORD=${password}\0`),
  files: [{ path: 'tls', mode: 0o444, contents: Buffer.from(tls) }],
  versions: new Map([
    ['env/PASSWORD', `v-${password}`],
    ['files/tls', `v-${tls}`],
  ]),
  wholeTexts: [],
  fallbacks: [],
});
const write = (delivery: Delivery, now: number, wanted = injection): Promise<void> =>
  writeLocalVolumes([{ wanted: { injection: wanted, stores: {} }, delivery }], places(), {
    installShim: async () => shim,
    now,
  });
const volume = (name: string): string => join(places().volumes, name);
const recordOf = async () => (await new LocalRecords(places().records).load())[0]!;

test('writes what every user of a container can read, whatever the umask is', async () => {
  const umask = process.umask(0o077);
  try {
    await write(deliveryOf('p1', 't1'), 1);
    expect(process.umask(0o077)).toBe(0o077);
  } finally {
    process.umask(umask);
  }
  expect(readFileSync(join(volume('dso_shop.app'), 'env'), 'utf8')).toBe('PASSWORD=p1\0');
  expect(readFileSync(join(volume('dsofiles_shop.app'), 'tls'), 'utf8')).toBe('t1');
  const modes = [
    'dso_shop.app',
    'dso_shop.app/bin',
    'dsofiles_shop.app',
    'dsofiles_shop.app/..data',
  ];
  for (const path of modes) expect(statSync(volume(path)).mode & 0o777).toBe(0o755);
  for (const path of ['dso_shop.app/env', 'dsofiles_shop.app/tls'])
    expect(statSync(volume(path)).mode & 0o777).toBe(0o444);
});

test('keeps files that are as they were, and since when', async () => {
  await write(deliveryOf('p1', 't1'), 1);
  const before = readdirSync(volume('dsofiles_shop.app'));
  await write(deliveryOf('p1', 't1'), 2);
  expect(readdirSync(volume('dsofiles_shop.app'))).toEqual(before);
  expect(await recordOf()).toMatchObject({ current: { at: 1 }, variablesSince: 1 });
});

test('knows whether a variable has changed, or a file alone', async () => {
  await write(deliveryOf('p1', 't1'), 1);
  await write(deliveryOf('p1', 't2'), 2);
  expect(await recordOf()).toMatchObject({ current: { at: 2 }, variablesSince: 1 });
  expect(readFileSync(join(volume('dsofiles_shop.app'), 'tls'), 'utf8')).toBe('t2');
  await write(deliveryOf('p2', 't2'), 3);
  expect(await recordOf()).toMatchObject({ current: { at: 3 }, variablesSince: 3 });
});

test('writes files again if dso.yaml gives them another mode, or if they are gone', async () => {
  await write(deliveryOf('p1', 't1'), 1);
  const [file] = injection.files;
  const other = { ...injection, files: [{ ...file!, mode: 0o400 }] };
  const before = readdirSync(volume('dsofiles_shop.app'));
  await write(deliveryOf('p1', 't1'), 2, other);
  expect(readdirSync(volume('dsofiles_shop.app'))).not.toEqual(before);
  rmSync(volume('dsofiles_shop.app'), { recursive: true });
  await write(deliveryOf('p1', 't1'), 3, other);
  expect(existsSync(volume('dsofiles_shop.app/tls'))).toBe(true);
});

test('commands that write at once leave what one of them has written', async () => {
  const numbers = Array.from({ length: 8 }, (_, index) => index);
  await Promise.all(numbers.map((each) => write(deliveryOf(`p${each}`, `t${each}`), each)));
  const { secrets } = (await recordOf()).current;
  const env = readFileSync(join(volume('dso_shop.app'), 'env'), 'utf8');
  const file = readFileSync(join(volume('dsofiles_shop.app'), 'tls'), 'utf8');
  expect(secrets['env/PASSWORD']).toBe(`dso://db v-${/=(.*)\0/.exec(env)?.[1]}`);
  expect(secrets['files/tls']).toBe(`dso://tls v-${file}`);
});

test('a record has no value', async () => {
  const versions = new Map([['env/PASSWORD', 'v1']]);
  await write({ ...deliveryOf('planted-value', 'planted-file'), versions }, 1);
  const text = readFileSync(join(places().records, 'dso_shop.app.json'), 'utf8');
  expect(text).not.toContain('planted');
  expect((await recordOf()).wanted.injection).toMatchObject({ project: 'shop', service: 'app' });
});

test('a record that is broken is as none', async () => {
  await write(deliveryOf('p1', 't1'), 1);
  writeFileSync(join(places().records, 'dso_shop.app.json'), '{');
  await write(deliveryOf('p1', 't1'), 2);
  expect(await recordOf()).toMatchObject({ current: { at: 2 } });
});

test('removes what belongs to one project', async () => {
  const env = { XDG_RUNTIME_DIR: runtime };
  const cleanup = new LocalCleanup(env);
  expect(await cleanup.mayHaveProjects()).toBe(false);
  await write(deliveryOf('p1', 't1'), 1);
  await write(deliveryOf('p1', 't1'), 1, { ...injection, project: 'shop-2' });
  expect(await cleanup.mayHaveProjects()).toBe(true);
  await cleanup.deleteProject('shop');
  expect(readdirSync(places().volumes)).toEqual(['dso_shop-2.app', 'dsofiles_shop-2.app']);
  expect(readdirSync(places().records)).toEqual(['dso_shop-2.app.json']);
});
