import { afterEach, describe, expect, test } from '@jest/globals';
import { link, rename, unlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { eventually, serving, volume } from '../../test/csi/harness.ts';
import type { CsiServerOptions } from './csi-server.ts';

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function serve(options: Partial<CsiServerOptions> = {}) {
  const one = await serving(async () => volume, { healthAddress: '127.0.0.1:0', ...options });
  ends.push(one.close);
  const ask = async (path: string): Promise<[number, string]> => {
    const answer = await fetch(`http://127.0.0.1:${one.port}${path}`);
    return [answer.status, await answer.text()];
  };
  return { ...one, ask };
}

describe('health', () => {
  test('is well where this process answers at each socket', async () => {
    const { ask } = await serve({ providers: ['cce', 'local'] });
    expect(await ask('/healthz')).toEqual([200, 'ok\n']);
    expect(await ask('/readyz')).toEqual([200, '{"ready":true,"reasons":[]}\n']);
  });

  test('sees, as a driver would, that another process answers', async () => {
    const a = await serve();
    const b = await serve();
    await rename(b.path, a.path);
    const [status, text] = await a.ask('/healthz');
    expect([status, text]).toEqual([503, `${a.path} is answered by another process\n`]);
    await eventually(async () => {
      const [ready, reasons] = await a.ask('/readyz');
      expect(ready).toBe(503);
      expect(JSON.parse(reasons)).toEqual({
        ready: false,
        reasons: [expect.stringContaining('another process')],
      });
    });
  });

  test('sees that nobody answers', async () => {
    const { ask, path } = await serve();
    const mute = createServer(() => undefined);
    await new Promise<void>((resolve) => mute.listen(`${path}.mute`, resolve));
    await link(`${path}.mute`, `${path}.new`);
    await rename(`${path}.new`, path);
    mute.close();
    const [status, text] = await ask('/healthz');
    expect(status).toBe(503);
    expect(text).toContain('does not answer');
    await unlink(path);
    await eventually(async () => expect(await ask('/healthz')).toEqual([200, 'ok\n']));
  });

  test('shows the metrics, and what there is to be asked', async () => {
    const { ask } = await serve();
    expect((await ask('/metrics'))[1]).toContain('keyferry_socket_owned{provider="cce"} 1');
    expect((await ask('/'))[0]).toBe(404);
  });

  test('ends with the process', async () => {
    const { ask, server } = await serve();
    await server.drain(0);
    await expect(ask('/healthz')).rejects.toThrow('fetch failed');
  });

  test.each(['8095', 'host:', '0.0.0.0:65536', '::1:8095'])(
    'refuses the address %s',
    async (healthAddress) => {
      await expect(serving(async () => volume, { healthAddress })).rejects.toMatchObject({
        code: 'NOT_CONFIGURED',
      });
    },
  );
});
