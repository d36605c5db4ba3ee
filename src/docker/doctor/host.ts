import { constants } from 'node:fs';
import { access, readFile, stat } from 'node:fs/promises';
import { errorCodeOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { type Places, unitName } from '../setup/places.ts';
import type { RunProgram } from '../run-program.ts';
import { isThere } from '../../files/is-there.ts';
import { type Finding, failed, fine } from './findings.ts';
import { isInMemory, mountOf } from '../volume/mount-table.ts';

const install = 'install it: sudo docker dso system setup';

/** The sockets of the agent, and the right to the one of the plugin. */
export async function checkSockets(
  { pluginSocket }: Pick<Places, 'pluginSocket'>,
  controlSocket: string,
): Promise<readonly Finding[]> {
  return [await checkControlSocket(controlSocket), ...(await checkPluginSocket(pluginSocket))];
}

async function checkControlSocket(path: string): Promise<Finding> {
  const name = 'socket';
  const shown = sanitizeUserText(path);
  try {
    if (!(await stat(path)).isSocket())
      return failed(name, `${shown} is not a socket`, 'remove it and start the agent again');
    await access(path, constants.R_OK | constants.W_OK);
    return fine(name, shown);
  } catch (thrown) {
    const code = errorCodeOf(thrown) ?? 'unknown error';
    if (code === 'EACCES')
      return failed(
        name,
        `you have no right to ${shown}`,
        'add yourself to the group docker and log in again, or use sudo',
      );
    return code === 'ENOENT'
      ? failed(name, `there is no ${shown}`, `start the agent, or ${install}`)
      : failed(name, `${shown}: ${code}`, 'check the path');
  }
}

/** A user without rights may not see the directory of Docker: nothing is said then. */
async function checkPluginSocket(path: string): Promise<readonly Finding[]> {
  const name = 'volume plugin';
  const shown = sanitizeUserText(path);
  try {
    return [
      (await stat(path)).isSocket()
        ? fine(name, shown)
        : failed(name, `${shown} is not a socket`, 'remove it and start the agent again'),
    ];
  } catch (thrown) {
    return errorCodeOf(thrown) === 'EACCES'
      ? []
      : [failed(name, `there is no ${shown}`, `start the agent, or ${install}`)];
  }
}

/** The file system of the secrets: in memory, and containers can start programs from it. */
export async function checkVolumes(
  { volumesDirectory }: Pick<Places, 'volumesDirectory'>,
  mountinfo = '/proc/self/mountinfo',
): Promise<Finding> {
  const name = 'tmpfs';
  const shown = sanitizeUserText(volumesDirectory);
  try {
    if (!(await isInMemory(volumesDirectory)))
      return failed(
        name,
        `${shown} is on a disk`,
        'start the agent again as root, so that it mounts a tmpfs there',
      );
  } catch (thrown) {
    return failed(
      name,
      `${shown}: ${errorCodeOf(thrown) ?? 'unknown error'}`,
      `start the agent, or ${install}`,
    );
  }
  const table = await readFile(mountinfo, 'utf8').catch(() => '');
  const options = mountOf(volumesDirectory, table)?.options ?? [];
  if (options.includes('noexec'))
    return failed(
      name,
      `${shown} is mounted with noexec, so containers cannot start the shim`,
      `sudo mount -o remount,exec ${shown}, or start the agent again as root`,
    );
  return options.includes('noswap')
    ? fine(name, shown)
    : fine(name, shown, 'it can be swapped out: turn swap off, or encrypt it');
}

/** Whether the agent starts before the engine when the host starts. */
export async function checkBootOrder(
  places: Pick<Places, 'systemd' | 'unit'>,
  run: RunProgram,
): Promise<Finding> {
  const name = 'boot order';
  if (!(await isThere(places.systemd)))
    return fine(name, undefined, 'systemd does not run here: start the agent before Docker');
  const properties = ['LoadState', 'UnitFileState', 'Before'].map((each) => `--property=${each}`);
  const { stdout } = await run('systemctl', ['show', unitName, ...properties]);
  const values = new Map(
    stdout.split('\n').map((line) => {
      const [key = '', ...value] = line.split('=');
      return [key, value.join('=')] as const;
    }),
  );
  if (values.get('LoadState') !== 'loaded')
    return fine(
      name,
      undefined,
      `there is no unit ${unitName}: an agent that is a container starts with the others, and starts again what came too early`,
    );
  if (values.get('UnitFileState') !== 'enabled')
    return failed(
      name,
      `${unitName} does not start with the host`,
      `sudo systemctl enable ${unitName}`,
    );
  return values.get('Before')?.split(' ').includes('docker.service') === true
    ? fine(name, `${unitName} before docker.service`)
    : failed(
        name,
        `${unitName} is not ordered before docker.service`,
        'call sudo docker dso system setup again, and look at: systemctl cat dso-agent',
      );
}
