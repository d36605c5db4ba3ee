import { describe, expect, test } from '@jest/globals';
import { selectServices } from './selection.ts';

const model = {
  name: 'shop',
  services: {
    web: { depends_on: { app: { condition: 'service_started' } }, links: ['cache:c'] },
    app: { volumes_from: ['data:ro'] },
    cache: { network_mode: 'service:net' },
    data: {},
    net: {},
    debug: { profiles: ['debug'], depends_on: { app: {} } },
  },
};

function select(names: readonly string[], profiles: readonly string[] = [], noDeps = false) {
  return [...selectServices({ model, profiles, names, noDeps })].sort();
}

describe('the services that a command creates', () => {
  test('are those without profiles and those of active profiles', () => {
    const always = ['app', 'cache', 'data', 'net', 'web'];
    expect(select([])).toEqual(always);
    expect(select([], ['debug'])).toEqual([...always, 'debug'].sort());
    expect(select([], ['*'])).toEqual([...always, 'debug'].sort());
  });

  test('are those that are named, and all that they need', () => {
    expect(select(['data'])).toEqual(['data']);
    expect(select(['web'])).toEqual(['app', 'cache', 'data', 'net', 'web']);
    expect(select(['debug'])).toEqual(['app', 'data', 'debug']);
  });

  test('are only those that are named, with --no-deps', () => {
    expect(select(['web'], [], true)).toEqual(['web']);
  });

  test('leave out names that there are not: Compose reports them', () => {
    expect(select(['wbe'])).toEqual([]);
  });
});
