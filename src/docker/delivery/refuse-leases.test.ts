import { expect, test } from '@jest/globals';
import { MemoryStore } from '../../../test/docker/agent.ts';
import type { FetchRequest } from '../../core/provider.ts';
import { refuseLeases } from './refuse-leases.ts';

const requestFor = (name: string, instance: string): FetchRequest => ({
  grant: { ref: { service: 'memory', name }, workload: { instance } } as FetchRequest['grant'],
  urgency: 'first',
  signal: new AbortController().signal,
  onStart: () => undefined,
});

test('refuses a credential with an end where it is told to, and gives it back', async () => {
  const memory = new MemoryStore();
  memory.values.set('database/creds/app', () => 'made-for-one-read');
  memory.values.set('my-app/token', 'constant');
  const store = refuseLeases(memory.open(), 'vault', {
    isRefused: (instance) => instance === 'refused',
    ...{ reason: 'nothing renews it', hint: 'use the agent' },
  });
  const names = ['database/creds/app', 'my-app/token', 'absent'];
  const results = await Promise.all(store.fetch(names.map((name) => requestFor(name, 'refused'))));
  expect(results).toMatchObject([
    {
      kind: 'failed',
      error: {
        code: 'NOT_CONFIGURED',
        message: 'vault: database/creds/app is a credential with an end, and nothing renews it',
        hint: 'use the agent',
      },
    },
    { kind: 'value' },
    { kind: 'absent' },
  ]);
  expect(memory.released).toEqual(['lease-1']);
  const [other] = await Promise.all(store.fetch([requestFor('database/creds/app', 'other')]));
  expect(other).toMatchObject({ kind: 'value', value: { lease: { id: 'lease-2' } } });
});
