import { describe, expect, test } from '@jest/globals';
import { SecretError } from '../core/errors.ts';
import { CircuitBreaker } from './circuit-breaker.ts';

function setUp(random = 0) {
  const clock = { ms: 0 };
  const breaker = new CircuitBreaker({
    now: () => clock.ms,
    random: () => random,
    initialOpenMs: 100,
    maxOpenMs: 400,
  });
  return { clock, breaker };
}

const error = new SecretError('STORE_UNAVAILABLE', 'refused the connection');

describe('a circuit breaker', () => {
  test('is closed for a key without a record', () => {
    expect(setUp().breaker.stateOf('a')).toEqual({ kind: 'closed' });
  });

  test('opens after a failure, with the error and the remaining time, and is half-open afterwards', () => {
    const { clock, breaker } = setUp();
    breaker.recordFailure('a', error);
    clock.ms = 40;
    expect(breaker.stateOf('a')).toEqual({ kind: 'open', error, retryAfterMs: 60 });
    expect(breaker.stateOf('b')).toEqual({ kind: 'closed' });
    clock.ms = 100;
    expect(breaker.stateOf('a')).toEqual({ kind: 'half-open' });
  });

  test('doubles the open period up to the maximum, until a request succeeds', () => {
    const { clock, breaker } = setUp();
    const windows = [100, 200, 400, 400].map(() => {
      breaker.recordFailure('a', error);
      // A concurrent request fails as well.
      breaker.recordFailure('a', error);
      const state = breaker.stateOf('a');
      const ms = state.kind === 'open' ? state.retryAfterMs : 0;
      clock.ms += ms;
      return ms;
    });
    expect(windows).toEqual([100, 200, 400, 400]);
    breaker.recordSuccess('a');
    expect(breaker.stateOf('a')).toEqual({ kind: 'closed' });
    breaker.recordFailure('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ retryAfterMs: 100 });
  });

  test('does not stay open longer after the clock was set back', () => {
    const { clock, breaker } = setUp(0.5);
    clock.ms = 86_400_000;
    breaker.recordFailure('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ kind: 'open' });
    clock.ms = 0;
    expect(breaker.stateOf('a')).toEqual({ kind: 'half-open' });
    breaker.recordFailure('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ kind: 'open', retryAfterMs: 150 });
  });

  test('shortens the open period by up to a half at random', () => {
    const { breaker } = setUp(0.5);
    breaker.recordFailure('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ retryAfterMs: 75 });
  });

  test('becomes half-open on request, which neither closes nor shortens an open circuit', () => {
    const { clock, breaker } = setUp();
    breaker.markHalfOpen('a');
    expect(breaker.stateOf('a')).toEqual({ kind: 'half-open' });
    breaker.recordFailure('a', error);
    breaker.markHalfOpen('a');
    expect(breaker.stateOf('a')).toMatchObject({ kind: 'open', retryAfterMs: 100 });
    clock.ms = 100;
    breaker.recordFailure('a', error);
    expect(breaker.stateOf('a')).toMatchObject({ retryAfterMs: 200 });
  });
});
