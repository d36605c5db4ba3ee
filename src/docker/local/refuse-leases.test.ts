import { expect, test } from '@jest/globals';
import { MemoryStore } from '../../../test/docker/agent.ts';
import type { FetchRequest } from '../../core/provider.ts';
import { refuseLeases } from './refuse-leases.ts';

const requestFor = (name: string): FetchRequest => ({
  grant: { ref: { service: 'memory', name } } as FetchRequest['grant'],
  urgency: 'first',
  signal: new AbortController().signal,
  onStart: () => undefined,
});

test('refuses a credential with an end, and gives it back', async () => {
  const memory = new MemoryStore();
  memory.values.set('database/creds/app', () => 'made-for-one-read');
  memory.values.set('my-app/token', 'constant');
  const store = refuseLeases(memory.open(), 'vault');
  const names = ['database/creds/app', 'my-app/token', 'absent'];
  const results = await Promise.all(store.fetch(names.map(requestFor)));
  expect(results).toMatchObject([
    {
      kind: 'failed',
      error: {
        code: 'NOT_CONFIGURED',
        message:
          'vault: database/creds/app is a credential with an end, and in local mode nothing renews it',
        hint: 'start its service with the agent: sudo docker dso system setup',
      },
    },
    { kind: 'value' },
    { kind: 'absent' },
  ]);
  expect(memory.released).toEqual(['lease-1']);
});
