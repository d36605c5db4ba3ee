import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { createBreaker } from './circuit-breaker.ts';

function setUp(random = 0) {
  const clock = { ms: 0 };
  const breaker = createBreaker({ now: () => clock.ms, random: () => random, firstMs: 100, maxMs: 400 });
  return { clock, breaker };
}

const error = new SecretError('STORE_UNAVAILABLE', 'refused the connection');

describe('a breaker', () => {
  test('knows nothing bad of whom it has not heard of', () => {
    expect(setUp().breaker.stateOf('a')).toEqual({ kind: 'good' });
  });

  test('leaves alone who failed, and says why and how long; then wants it looked at', () => {
    const { clock, breaker } = setUp();
    breaker.failed('a', error);
    clock.ms = 40;
    expect(breaker.stateOf('a')).toEqual({ kind: 'left alone', error, forMs: 60 });
    expect(breaker.stateOf('b')).toEqual({ kind: 'good' });
    clock.ms = 100;
    expect(breaker.stateOf('a')).toEqual({ kind: 'doubtful' });
  });

  test('leaves it alone twice as long each time, up to the longest, until it works', () => {
    const { clock, breaker } = setUp();
    const windows = [100, 200, 400, 400].map(() => {
      breaker.failed('a', error);
      // Who asked at the same time fails as well.
      breaker.failed('a', error);
      const state = breaker.stateOf('a');
      const ms = state.kind === 'left alone' ? state.forMs : 0;
      clock.ms += ms;
      return ms;
    });
    expect(windows).toEqual([100, 200, 400, 400]);
    breaker.worked('a');
    expect(breaker.stateOf('a')).toEqual({ kind: 'good' });
    breaker.failed('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ forMs: 100 });
  });

  test('leaves nobody alone for longer because the clock was fast', () => {
    const { clock, breaker } = setUp(0.5);
    clock.ms = 86_400_000;
    breaker.failed('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ kind: 'left alone' });
    clock.ms = 0;
    expect(breaker.stateOf('a')).toEqual({ kind: 'doubtful' });
    breaker.failed('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ kind: 'left alone', forMs: 150 });
  });

  test('comes back up to a half sooner, so that not all come at once', () => {
    const { breaker } = setUp(0.5);
    breaker.failed('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ forMs: 75 });
  });

  test('a doubt wants a look at once, and shortens no time', () => {
    const { clock, breaker } = setUp();
    breaker.doubt('a');
    expect(breaker.stateOf('a')).toEqual({ kind: 'doubtful' });
    breaker.failed('a', error);
    breaker.doubt('a');
    expect(breaker.stateOf('a')).toMatchObject({ kind: 'left alone', forMs: 100 });
    clock.ms = 100;
    breaker.failed('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ forMs: 200 });
  });
});
