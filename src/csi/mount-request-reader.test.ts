import { describe, expect, jest, test } from '@jest/globals';
import { type RawMountRequest, createRequestReader } from './mount-request.ts';

const kubernetes = 'csi.storage.k8s.io/';

function raw(
  token: string,
  rest: Partial<RawMountRequest> = {},
  parameters: object = {},
): RawMountRequest {
  return {
    attributes: JSON.stringify({
      [`${kubernetes}pod.name`]: 'web-0',
      [`${kubernetes}pod.namespace`]: 'shop',
      [`${kubernetes}pod.uid`]: '7f1c9bb2',
      [`${kubernetes}serviceAccount.name`]: 'web',
      [`${kubernetes}serviceAccount.tokens`]: JSON.stringify({ sts: { token } }),
      objects: '- a',
      ...parameters,
    }),
    secrets: 'null',
    targetPath: '/pods/7f1c9bb2/mount',
    permission: '420',
    ...rest,
  };
}

describe('a repeated request', () => {
  test('with the same text is not parsed again', () => {
    const read = createRequestReader();
    const first = read(raw('t1'), 'local');
    // An equal text in another string.
    expect(read(structuredClone(raw('t1')), 'local')).toBe(first);
  });

  test.each<[string, RawMountRequest, string]>([
    ['another token', raw('t2'), 'local'],
    ['another parameter', raw('t1', {}, { objects: '- b' }), 'local'],
    ['another permission', raw('t1', { permission: '256' }), 'local'],
    ['another namespace', raw('t1', {}, { [`${kubernetes}pod.namespace`]: 'bank' }), 'local'],
    ['keys', raw('t1', { secrets: '{"id":"key"}' }), 'local'],
    ['another target path', raw('t1', { targetPath: '/pods/7f1c9bb2/other' }), 'local'],
    ['another provider', raw('t1'), 'aws'],
  ])('with %s is parsed', (_, other, provider) => {
    const read = createRequestReader();
    const first = read(raw('t1'), 'local');
    expect(read(other, provider)).toEqual(createRequestReader()(other, provider));
    expect(read(other, provider)).not.toBe(first);
  });

  test('is not kept when the pod supplies keys', () => {
    const read = createRequestReader();
    const withKeys = raw('t1', { secrets: '{"id":"key"}' });
    const first = read(withKeys, 'local');
    expect(read(withKeys, 'local')).not.toBe(first);
    expect(read(withKeys, 'local')).toEqual(first);
  });

  test('is rejected again when it is invalid', () => {
    const read = createRequestReader();
    for (let time = 0; time < 2; time++)
      expect(() => read(raw('t1', { permission: 'all' }), 'local')).toThrow('permission');
  });

  test('is removed after ten minutes with its tokens, whether or not it is repeated', () => {
    jest.useFakeTimers({ doNotFake: ['performance'] });
    let ms = 1;
    try {
      const read = createRequestReader(() => ms);
      const advance = (minutes: number): void => {
        ms += minutes * 60_000;
        jest.advanceTimersByTime(minutes * 60_000);
      };
      const first = read(raw('t1'), 'local');
      advance(9);
      expect(read(raw('t1'), 'local')).toBe(first);
      expect(jest.getTimerCount()).toBe(1);
      advance(2);
      expect(jest.getTimerCount()).toBe(0);
      expect(read(raw('t1'), 'local')).not.toBe(first);
    } finally {
      jest.useRealTimers();
    }
  });

  test('of large classes is removed before they fill the memory', () => {
    const read = createRequestReader();
    const large = (volume: number): RawMountRequest =>
      raw('t1', { targetPath: `/pods/${volume}` }, { objects: 'x'.repeat(100_000) });
    const first = read(large(0), 'local');
    for (let volume = 1; volume < 60; volume++) read(large(volume), 'local');
    expect(read(large(0), 'local')).not.toBe(first);
    const last = read(large(59), 'local');
    expect(read(large(59), 'local')).toBe(last);
  });
});
