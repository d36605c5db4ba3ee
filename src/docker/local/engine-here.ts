import { release } from 'node:os';
import { SecretError } from '../../core/errors.ts';
import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Docker } from '../compose/docker.ts';
import { toEngineError } from '../compose/images.ts';

/**
 * Refuses an engine that does not see the files of this machine: one behind the network, or in a
 * virtual machine. Its containers could not mount a directory of this machine.
 * @param kernel the release of this machine's kernel
 * @throws SecretError NOT_CONFIGURED
 */
export async function checkEngineIsHere(
  docker: Pick<Docker, 'capture'>,
  kernel = release(),
): Promise<void> {
  const [context, server] = await Promise.all([
    docker.capture(['context', 'inspect', '--format', '{{.Endpoints.docker.Host}}']),
    docker.capture(['version', '--format', '{{.Server.KernelVersion}}']),
  ]);
  if (server.code !== 0) throw toEngineError(server.stderr);
  const endpoint = context.stdout.trim();
  if (context.code === 0 && !endpoint.startsWith('unix://'))
    throw notHere(`the engine is not on this machine: ${sanitizeExternalText(endpoint, [])}`);
  const found = server.stdout.trim();
  if (found.includes('.') && found !== kernel)
    throw notHere(
      `the engine runs on another machine, or in a virtual one: its kernel is ${sanitizeExternalText(found, [])}, and that of this machine ${kernel}`,
    );
}

function notHere(message: string): SecretError {
  return new SecretError('NOT_CONFIGURED', `local mode cannot be used: ${message}`, {
    hint: 'choose an engine of this machine (docker context use default), or install the agent on the machine of the engine: docker dso system setup',
  });
}
