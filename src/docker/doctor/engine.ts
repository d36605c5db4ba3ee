import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { AgentInfo } from '../agent-api.ts';
import type { Docker } from '../compose/docker.ts';
import { composeLabels } from '../model/labels.ts';
import { type Finding, failed, failedBy, fine, seeLog } from './findings.ts';
import { findCompose, oldestCompose } from '../compose/compose-version.ts';
import { type Container, findContainers, literalReferences } from '../compose/containers.ts';
import { findRuntime } from '../compose/engine-runtime.ts';
import { isThere } from '../../files/is-there.ts';
import { secretsDirectory } from '../model/volumes.ts';

type Capture = Pick<Docker, 'capture'>;

/** The oldest API 1.x that was tried: that of engine 20.10. */
const oldestApi = 41;

/** The container engine, and the right to use it. */
export async function checkEngine(docker: Capture): Promise<Finding> {
  const name = 'engine';
  try {
    const format = '{{.Server.Version}} {{.Server.APIVersion}}';
    const { code, stdout, stderr } = await docker.capture(['version', '--format', format]);
    if (code !== 0) return engineFailure(stderr);
    const [version = '', api = ''] = stdout.trim().split(' ').map(shown);
    return Number(api.split('.')[1]) < oldestApi
      ? failed(name, `Docker ${version} has the API ${api}`, 'install Docker 20.10 or newer')
      : fine(name, `${version}, API ${api}`);
  } catch (thrown) {
    return failedBy(name, thrown);
  }
}

function engineFailure(stderr: string): Finding {
  const isDenied = /permission denied/i.test(stderr);
  return isDenied
    ? failed(
        'engine',
        'you have no right to its socket',
        'add yourself to the group docker and log in again, or use sudo',
      )
    : failed(
        'engine',
        `it does not respond: ${shown(stderr.trim().split('\n')[0] ?? '')}`,
        'start it: sudo systemctl start docker',
      );
}

/** The way of the agent to the engine: it starts what failed while the agent was away. */
export function checkEngineAccess({ engine }: Pick<AgentInfo, 'engine'>): Finding {
  const name = 'engine socket';
  if (engine === undefined)
    return fine(
      name,
      undefined,
      'the agent has none: what failed while the agent was away stays down; see --engine-socket',
    );
  const { socket, failure } = engine;
  return failure === undefined
    ? fine(name, shown(socket))
    : failed(name, `the agent cannot use ${failure.message}`, failure.hint ?? seeLog);
}

/** Docker Compose as a plugin of Docker's command line. */
export async function checkCompose(docker: Capture): Promise<Finding> {
  const name = 'compose';
  try {
    const found = await findCompose(docker);
    if (found === undefined)
      return failed(
        name,
        'Docker has no plugin compose',
        `install Docker Compose ${oldestCompose} or newer: the package docker-compose-plugin`,
      );
    const version = shown(found.version);
    return found.isTooOld
      ? failed(
          name,
          `its version is ${version}`,
          `install Docker Compose ${oldestCompose} or newer`,
        )
      : fine(name, version);
  } catch (thrown) {
    return failedBy(name, thrown);
  }
}

/** The runtime `dso`, if the engine has it. Only `runtime: on` of a dso.yaml needs it. */
export async function checkEngineRuntime(docker: Capture): Promise<readonly Finding[]> {
  const name = 'runtime';
  try {
    const found = await findRuntime(docker);
    // The check of the engine says why it does not respond.
    if ('errors' in found) return [];
    const { program } = found;
    if (program === undefined) return [];
    return [
      (await isThere(program))
        ? fine(name, shown(program))
        : failed(
            name,
            `the engine has it, and there is no ${shown(program)}`,
            'install it: sudo docker dso system setup --runtime',
          ),
    ];
  } catch (thrown) {
    return [failedBy(name, thrown)];
  }
}

/** The shim needs this many threads before it is the program (docs/adr/0018). */
const shimThreads = 4;

/** The containers of Compose projects. */
export async function checkContainers(docker: Capture): Promise<readonly Finding[]> {
  try {
    const found = await findContainers(docker, [composeLabels.project], { all: true });
    if ('errors' in found) return [];
    const findings = found.containers.flatMap(checkContainer);
    return findings.length === 0 ? [fine('containers', `${found.containers.length}`)] : findings;
  } catch (thrown) {
    return [failedBy('containers', thrown)];
  }
}

function checkContainer(container: Container): readonly Finding[] {
  const { name, pidsLimit, volumes } = container;
  const title = `container ${shown(name)}`;
  const literal = literalReferences(container);
  const hasShim = volumes.includes(secretsDirectory);
  return [
    ...(literal.length === 0
      ? []
      : [
          failed(
            title,
            `${shown(literal.join(', '))} has the text of a reference, because docker compose made it without dso`,
            'make it again: docker dso up -d',
          ),
        ]),
    ...(hasShim && pidsLimit > 0 && pidsLimit < shimThreads
      ? [failed(title, `its pids_limit is ${pidsLimit}`, `make it ${shimThreads} or more`)]
      : []),
  ];
}

function shown(text: string): string {
  return sanitizeExternalText(text, []);
}
