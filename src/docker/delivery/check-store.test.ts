import { expect, test } from '@jest/globals';
import { SecretError } from '../../core/errors.ts';
import { checkStore } from './check-store.ts';

const signal = new AbortController().signal;
const refused = new SecretError('CREDENTIALS_REFUSED', 'vault: invalid secret id', {
  hint: 'init',
});
const failure = { code: 'CREDENTIALS_REFUSED', message: 'vault: invalid secret id', hint: 'init' };
const step = (name: string, run: () => Promise<string>) => ({ name, run });
const notCalled = () => Promise.reject(new Error('not called'));

test('runs the steps up to the one that fails', async () => {
  const checkSteps = [
    step('reach', () => Promise.resolve('it serves')),
    step('log in', () => Promise.reject(refused)),
    step('look up', notCalled),
  ];
  expect(await checkStore({ check: notCalled, checkSteps }, signal)).toEqual({
    steps: [
      { name: 'reach', found: 'it serves' },
      { name: 'log in', failure },
    ],
  });
});

test('has one step for a store without steps', async () => {
  expect(await checkStore({ check: () => Promise.resolve() }, signal)).toEqual({
    steps: [{ name: 'log in and read' }],
  });
  expect(await checkStore({ check: () => Promise.reject(refused) }, signal)).toEqual({
    steps: [{ name: 'log in and read', failure }],
  });
});

test('does not show the text of an unexpected error', async () => {
  const check = () => Promise.reject(new Error('token hvs.secret'));
  expect(JSON.stringify(await checkStore({ check }, signal))).not.toContain('hvs.');
});

test('ends with the reason of the signal', async () => {
  const stopped = new AbortController();
  const check = () => {
    stopped.abort(new SecretError('CANCELLED', 'the caller has left'));
    return Promise.reject(refused);
  };
  await expect(checkStore({ check }, stopped.signal)).rejects.toThrow('the caller has left');
});
