import { Command } from 'commander';
import { describe, expect, test } from '@jest/globals';
import { parseSettings, settingFlags, type RawSettings, type Settings } from './settings.ts';

function settingsOf(...argv: string[]): Settings {
  const command = new Command().exitOverride();
  for (const option of settingFlags) command.addOption(option);
  return parseSettings(command.parse(argv, { from: 'user' }).opts<RawSettings>());
}

describe('the settings of a process', () => {
  test('have the documented defaults', () => {
    expect(settingsOf('--providers', 'local')).toEqual({
      providers: ['local'],
      providersDir: '/var/run/secrets-store-csi-providers',
      healthAddress: '0.0.0.0:8095',
      logLevel: 'info',
      logFormat: 'json',
      grace: 20_000,
      maxResponseBytes: 4 * 1024 * 1024,
      maxMounts: 512,
      cacheBytes: 32 * 1024 * 1024,
      maxStale: 600_000,
      firstMountPatience: 20_000,
      sharedIdentities: 'granted',
      events: 'off',
      podWatch: 'off',
      localStore: '/var/lib/keyferry/store.age',
      localKey: '/var/lib/keyferry/store.key',
    });
  });

  test('remove blanks and duplicates from the list of providers', () => {
    expect(settingsOf('--providers', ' cce, local,,cce ').providers).toEqual(['cce', 'local']);
  });

  test('accept several addresses for health', () => {
    const addresses = 'unix:/run/keyferry/health.sock,[::1]:8095,:8096';
    expect(settingsOf('--health-address', addresses).healthAddress).toBe(addresses);
  });

  test.each([
    ['--refresh-interval', 'often'],
    ['--max-stale', '10'],
    ['--shared-identities', 'some'],
    ['--events', 'true'],
    ['--pod-watch', 'yes'],
    ['--max-mounts', '0'],
    ['--health-address', '8095'],
    ['--health-address', 'unix:health.sock'],
    ['--health-address', '0.0.0.0:8095,'],
    ['--log-level', 'loud'],
    ['--log-format', 'xml'],
    ['--cache-bytes', '1MB'],
    ['--max-response-bytes', '0'],
    ['--max-response-bytes', '1023'],
  ])('reject %s %s and name the flag', (flag, value) => {
    expect(() => settingsOf(flag, value)).toThrow(flag);
  });

  test('reject an unknown flag', () => {
    expect(() => settingsOf('--refresh-intervall', '30s')).toThrow('unknown option');
  });
});
