import { expect, test } from '@jest/globals';
import { runOrThrow } from './run-program.ts';

test.each([
  ['', 'exit code 125'],
  ['first\nlast\n', 'last'],
  [
    "docker: Error response from daemon: no such path\n\nRun 'docker run --help' for more information\n",
    'docker: Error response from daemon: no such path',
  ],
  ["docker: no such path.\nSee 'docker run --help'.\n", 'docker: no such path.'],
])('says why a program fails that prints %j', async (stderr, cause) => {
  const run = () => Promise.resolve({ code: 125, stdout: '', stderr });
  await expect(runOrThrow(run, 'docker', ['run'], 'look at it')).rejects.toMatchObject({
    message: `docker run failed: ${cause}`,
    hint: 'look at it',
  });
});
