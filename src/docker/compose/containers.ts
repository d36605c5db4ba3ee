import { composeLabels } from '../model/labels.ts';
import { referencesLabel } from '../model/volumes.ts';
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
  /** Directories of the host that it mounts: their paths, by where it has them. */
  readonly binds: ReadonlyMap<string, string>;
  /** Of Compose; empty if Compose has not made it. */
  readonly service: string;
  /** The digest of the references that it was made with; empty if it has no secrets. */
  readonly references: string;
  readonly isRunning: boolean;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
};

/** Containers, or what Docker printed when it could not ask the engine. */
export type FoundContainers =
  { readonly containers: readonly Container[] } | { readonly errors: string };

/** One JSON text for each container: the parts that are looked at, and no more. */
const format =
  '{"name":{{json .Name}},"env":{{json .Config.Env}},"pidsLimit":{{json .HostConfig.PidsLimit}},' +
  '"volumes":[{{range $i, $m := .Mounts}}{{if $i}},{{end}}{{json $m.Destination}}{{end}}],' +
  '"sources":[{{range $i, $m := .Mounts}}{{if $i}},{{end}}' +
  '{{if eq $m.Type "bind"}}{{json $m.Source}}{{else}}null{{end}}{{end}}],' +
  `"service":{{json (index .Config.Labels "${composeLabels.service}")}},` +
  `"references":{{json (index .Config.Labels "${referencesLabel}")}},` +
  '"isRunning":{{json .State.Running}},"startedAt":{{json .State.StartedAt}}}';
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
    const found = JSON.parse(line) as Readonly<Record<string, unknown>>;
    const { name, env, pidsLimit, service, references, isRunning, startedAt } = found;
    const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
    const volumes = listOf(found.volumes).map(String);
    const sources = listOf(found.sources);
    const binds = volumes.flatMap((volume, index): readonly (readonly [string, string])[] => {
      const source = sources[index];
      return typeof source === 'string' ? [[volume, source]] : [];
    });
    return [
      {
        name: typeof name === 'string' ? name.replace(/^\//, '') : '',
        env: listOf(env).map(String),
        pidsLimit: typeof pidsLimit === 'number' ? pidsLimit : 0,
        volumes,
        binds: new Map(binds),
        service: typeof service === 'string' ? service : '',
        references: typeof references === 'string' ? references : '',
        isRunning: isRunning === true,
        startedAt: typeof startedAt === 'string' ? Date.parse(startedAt) : Number.NaN,
      },
    ];
  } catch {
    return [];
  }
}
