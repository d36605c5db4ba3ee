import type { Docker } from './docker.ts';

/** What `docker inspect` says of a container. */
export type Container = {
  readonly name: string;
  /** `NAME=value` */
  readonly env: readonly string[];
  /** 0: none. */
  readonly pidsLimit: number;
  /** Where its volumes are. */
  readonly volumes: readonly string[];
};

/** Containers, or what Docker printed when it could not ask the engine. */
export type FoundContainers =
  { readonly containers: readonly Container[] } | { readonly errors: string };

/** One JSON text for each container: the parts that are looked at, and no more. */
const format =
  '{"name":{{json .Name}},"env":{{json .Config.Env}},"pidsLimit":{{json .HostConfig.PidsLimit}},' +
  '"volumes":[{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{json $m.Destination}}{{end}}]}';
/** The longest command line that every system takes has room for more ids than this. */
const perCall = 200;

/**
 * Finds the containers with all of these labels.
 * @param labels `com.docker.compose.project`, or with a value: `NAME=value`
 * @param options.all also those that do not run
 */
export async function findContainers(
  docker: Pick<Docker, 'capture'>,
  labels: readonly string[],
  { all = false }: { readonly all?: boolean } = {},
): Promise<FoundContainers> {
  const filters = labels.flatMap((label) => ['--filter', `label=${label}`]);
  const words = ['ps', ...(all ? ['--all'] : []), '--quiet', '--no-trunc', ...filters];
  const listed = await docker.capture(words);
  if (listed.code !== 0) return { errors: listed.stderr };
  const ids = listed.stdout.split('\n').filter((id) => id !== '');
  const containers: Container[] = [];
  for (let start = 0; start < ids.length; start += perCall) {
    const batch = ids.slice(start, start + perCall);
    // A container that has just gone makes it fail, and it prints the others.
    const { stdout } = await docker.capture(['container', 'inspect', '--format', format, ...batch]);
    containers.push(...stdout.split('\n').flatMap(readContainer));
  }
  return { containers };
}

/**
 * The variables whose values are references: plain `docker compose up` leaves them there, without
 * an error. Shows no value.
 */
export function literalReferences({ env }: Pick<Container, 'env'>): readonly string[] {
  return env.flatMap((entry) => /^([^=]*)=dso(?:file)?:\/\//i.exec(entry)?.[1] ?? []);
}

function readContainer(line: string): readonly Container[] {
  try {
    const { name, env, pidsLimit, volumes } = JSON.parse(line) as Readonly<Record<string, unknown>>;
    return [
      {
        name: typeof name === 'string' ? name.replace(/^\//, '') : '',
        env: Array.isArray(env) ? env.map(String) : [],
        pidsLimit: typeof pidsLimit === 'number' ? pidsLimit : 0,
        volumes: Array.isArray(volumes) ? volumes.map(String) : [],
      },
    ];
  } catch {
    return [];
  }
}
