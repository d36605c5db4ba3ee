import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import type { Injection } from '../model/types.ts';
import type { ProjectDocument } from '../delivery/documents.ts';
import { Projects } from './projects.ts';

test('the file of a project has what was registered last, also if an earlier write is slow', async () => {
  const written: string[] = [];
  let finishFirst = (): void => undefined;
  const first = new Promise<void>((resolve) => (finishFirst = resolve));
  const save = async (_: string, { services }: ProjectDocument): Promise<void> => {
    const path = services[0]!.variables[0]!.ref.path;
    if (path === 'old') await first;
    written.push(path);
  };
  const never = (): never => {
    throw new Error('not called here');
  };
  const projects = new Projects({
    documents: { load: never, save, remove: never },
    hasVolume: () => false,
    mountsDeps: {
      ...{ directory: '/volumes', shim: '/shim', deliver: never, now: Date.now },
      records: { save: never, remove: never },
      log: pino({ level: 'silent' }),
    },
  });
  const register = (path: string): Promise<unknown> => {
    const variables = [{ name: 'A', ref: { path } }];
    const injection: Injection = {
      ...{ project: 'shop', service: 'app', variables, files: [], exec: 'on' },
    };
    return projects.put('shop', { services: [injection], stores: {} });
  };
  const both = [register('old'), register('new')];
  await new Promise((resolve) => setImmediate(resolve));
  finishFirst();
  await Promise.all(both);
  expect(written.at(-1)).toBe('new');
});
