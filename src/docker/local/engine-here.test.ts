import { expect, test } from '@jest/globals';
import { checkEngineIsHere } from './engine-here.ts';

const kernel = '6.1.0-18-amd64';

/** Docker as it answers with this endpoint and this kernel of its engine. */
const dockerOf = (endpoint: string, found: string, code = 0) => ({
  capture: async ([command]: readonly string[]) =>
    command === 'context'
      ? { code: 0, stdout: `${endpoint}\n`, stderr: '' }
      : { code, stdout: `${found}\n`, stderr: code === 0 ? '' : 'Cannot connect to the daemon' },
});

test.each([kernel, '', '<no value>'])(
  'an engine of this machine can be used: %j',
  async (found) => {
    await checkEngineIsHere(dockerOf('unix:///var/run/docker.sock', found), kernel);
  },
);

test.each(['tcp://10.0.0.5:2376', 'ssh://admin@prod'])(
  'refuses the engine at %s',
  async (endpoint) => {
    await expect(checkEngineIsHere(dockerOf(endpoint, kernel), kernel)).rejects.toMatchObject({
      code: 'NOT_CONFIGURED',
      message: `local mode cannot be used: the engine is not on this machine: ${endpoint}`,
      hint: expect.stringMatching(/docker context use default.* docker dso system setup/),
    });
  },
);

test('refuses an engine in a virtual machine, behind a socket of this one', async () => {
  const desktop = dockerOf('unix:///home/a/.docker/desktop/docker.sock', '6.10.14-linuxkit');
  await expect(checkEngineIsHere(desktop, kernel)).rejects.toMatchObject({
    message: expect.stringContaining('its kernel is 6.10.14-linuxkit'),
  });
});

test('says that the engine does not respond', async () => {
  const away = dockerOf('unix:///var/run/docker.sock', '', 1);
  await expect(checkEngineIsHere(away, kernel)).rejects.toMatchObject({
    message: expect.stringContaining('the engine is not reachable'),
  });
});
