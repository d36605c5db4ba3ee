import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StoreType } from '../../core/host-store.ts';
import { Redacted } from '../../core/redacted.ts';
import { storeCommands, valueFile } from './store-commands.ts';

/** The commands run in a shell that goes on after a failure, as a terminal does. */
describe('storeCommands', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kf-store-commands-'));
    await mkdir(join(folder, 'bin'));
    await mkdir(join(folder, 'values'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const secretOf = (name: string) => {
    return { name, path: name, value: new Redacted(Buffer.from('x')), uses: [] };
  };

  /** @returns the entries that are left */
  async function runCommands(type: StoreType, program: string): Promise<readonly string[]> {
    for (const name of ['aws', 'vault', 'bao', 'hcloud'])
      await writeFile(join(folder, 'bin', name), `#!/bin/sh\n${program}\n`, { mode: 0o755 });
    const values = join(folder, 'values');
    const target = { type, prefix: 'shop', mount: 'secret' };
    const secrets = ['shop/a', 'shop/b'].map(secretOf);
    for (const secret of secrets) {
      const { name, bytes } = valueFile(secret, secret.value.reveal(), target);
      await writeFile(join(values, name), bytes);
    }
    const script = storeCommands(secrets, target, values).join('\n');
    const env = { PATH: `${join(folder, 'bin')}:${process.env.PATH ?? ''}` };
    await new Promise((resolve) => execFile('sh', ['-c', script], { env }, resolve));
    return readdir(values).catch(() => ['no directory']);
  }

  test.each(['aws', 'vault', 'openbao', 'huawei'] as const)(
    'remove the values that the store %s has taken, and no others',
    async (type) => {
      expect(await runCommands(type, 'exit 1')).toHaveLength(2);
      expect(await runCommands(type, 'case "$*" in *values/shop.a*) exit 1;; esac')).toEqual([
        type === 'huawei' ? 'shop.a.json' : 'shop.a',
      ]);
      expect(await runCommands(type, 'exit 0')).toEqual(['no directory']);
    },
  );

  test('keep the values that a person has to put into the store', async () => {
    expect(await runCommands('alibabacloud', 'exit 1')).toEqual(['shop.a', 'shop.b']);
  });
});
