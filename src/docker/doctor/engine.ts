import { sanitizeExternalText } from '../../core/safe-text.ts';
import type { Docker } from '../compose/docker.ts';
import { type Finding, failed, failedBy, fine } from './findings.ts';

type Capture = Pick<Docker, 'capture'>;

/** The oldest API 1.x that was tried: that of engine 20.10. */
const oldestApi = 41;
/** The oldest minor version of Compose 2 that docker dso works with. */
const oldestCompose = 20;

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

/** Docker Compose as a plugin of Docker's command line. */
export async function checkCompose(docker: Capture): Promise<Finding> {
  const name = 'compose';
  try {
    const { code, stdout } = await docker.capture(['compose', 'version', '--short']);
    const version = shown(stdout.trim());
    if (code !== 0)
      return failed(
        name,
        'Docker has no plugin compose',
        `install Docker Compose 2.${oldestCompose} or newer: the package docker-compose-plugin`,
      );
    const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number);
    return major < 2 || (major === 2 && minor < oldestCompose)
      ? failed(
          name,
          `its version is ${version}`,
          `install Docker Compose 2.${oldestCompose} or newer`,
        )
      : fine(name, version);
  } catch (thrown) {
    return failedBy(name, thrown);
  }
}

/** What `docker inspect` says of one container. */
type Container = {
  readonly name: string;
  readonly env: readonly string[];
  readonly pidsLimit: number;
  readonly volumes: readonly string[];
};

/** One JSON text for each container: the parts that are looked at, and no more. */
const format =
  '{"name":{{json .Name}},"env":{{json .Config.Env}},"pidsLimit":{{json .HostConfig.PidsLimit}},' +
  '"volumes":[{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{json $m.Destination}}{{end}}]}';
/** The longest command line that every system takes has room for more ids than this. */
const perCall = 200;
/** The shim needs this many threads before it is the program (docs/adr/0018). */
const shimThreads = 4;

/**
 * The containers of Compose projects: plain `docker compose up` leaves the text of a reference
 * where its value should be, without an error.
 */
export async function checkContainers(docker: Capture): Promise<readonly Finding[]> {
  try {
    const label = 'label=com.docker.compose.project';
    const listed = await docker.capture(['ps', '--all', '--quiet', '--filter', label]);
    if (listed.code !== 0) return [];
    const ids = listed.stdout.split('\n').filter(Boolean);
    const containers: Container[] = [];
    for (let start = 0; start < ids.length; start += perCall) {
      const batch = ids.slice(start, start + perCall);
      // A container that has just gone makes it fail, and it prints the others.
      const { stdout } = await docker.capture(['inspect', '--format', format, ...batch]);
      containers.push(...stdout.split('\n').flatMap(readContainer));
    }
    const findings = containers.flatMap(checkContainer);
    return findings.length === 0 ? [fine('containers', `${containers.length}`)] : findings;
  } catch (thrown) {
    return [failedBy('containers', thrown)];
  }
}

/** Never shows a value: only that of a reference is known to be no secret. */
function checkContainer({ name, env, pidsLimit, volumes }: Container): readonly Finding[] {
  const title = `container ${shown(name.replace(/^\//, ''))}`;
  const literal = env
    .map((entry) => /^([^=]*)=dso(?:file)?:\/\//.exec(entry)?.[1])
    .filter((variable) => variable !== undefined);
  const hasShim = volumes.includes('/run/dso');
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

function readContainer(line: string): readonly Container[] {
  try {
    const { name, env, pidsLimit, volumes } = JSON.parse(line) as Readonly<Record<string, unknown>>;
    return [
      {
        name: typeof name === 'string' ? name : '',
        env: Array.isArray(env) ? env.map(String) : [],
        pidsLimit: typeof pidsLimit === 'number' ? pidsLimit : 0,
        volumes: Array.isArray(volumes) ? volumes.map(String) : [],
      },
    ];
  } catch {
    return [];
  }
}

function shown(text: string): string {
  return sanitizeExternalText(text, []);
}
