import { readFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { errorCodeOf } from '../../core/errors.ts';

const pollMs = 500;

/**
 * Calls `onStop` when the `docker` that started this plugin gets a signal to stop. It closes its
 * socket then: only a terminal sends signals to both. Docker before 25 has no such socket.
 * @param name `DOCKER_CLI_PLUGIN_SOCKET`
 */
export function watchDockerCli(name: string, onStop: () => void): { close(): void } {
  if (name === '') return { close: () => undefined };
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;
  const stop = (): void => {
    if (!isClosed) onStop();
    isClosed = true;
  };
  const poll = (): void => {
    if (isClosed) return;
    timer = setTimeout(() => {
      void isListening(name).then((isThere) => (isThere ? poll() : stop()));
    }, pollMs).unref();
  };
  // Go writes an abstract socket with an @.
  const socket = createConnection({ path: name.replace(/^@/, '\0') });
  let isConnected = false;
  socket.on('connect', () => (isConnected = true));
  socket.on('error', (error) => {
    // Node 20 cannot connect to abstract sockets.
    if (!isConnected && errorCodeOf(error) === 'ECONNREFUSED') poll();
  });
  socket.on('close', () => {
    if (isConnected) stop();
  });
  socket.resume().unref();
  return {
    close: () => {
      isClosed = true;
      clearTimeout(timer);
      socket.destroy();
    },
  };
}

/** Whether a process has the abstract socket. True where Linux cannot be asked. */
async function isListening(name: string): Promise<boolean> {
  const sockets = await readFile('/proc/net/unix', 'utf8').catch(() => undefined);
  return sockets?.split('\n').some((line) => line.endsWith(` ${name}`)) ?? true;
}
