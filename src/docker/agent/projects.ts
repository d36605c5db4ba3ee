import { SecretError, errorCodeOf } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { ProjectRegistration } from '../agent-api.ts';
import type { Injection } from '../model/types.ts';
import { volumeNames } from '../model/volumes.ts';
import type { Wanted } from '../delivery/deliver.ts';
import type { ProjectDocument } from '../delivery/documents.ts';
import type { MountRecord } from './mount-record.ts';
import { ServiceMounts, type ServiceMountsDeps } from './service-mounts.ts';
import type { StateDirectory } from '../delivery/state-file.ts';

/** A service that the agent knows. */
export type KnownService = {
  readonly mounts: ServiceMounts;
  /**
   * `current`: its project asks for it. `former`: it did, and a container may still exist. `lost`:
   * only its volumes are known, and what belongs into them is not.
   */
  state: 'current' | 'former' | 'lost';
};

/** What {@link Projects} needs. */
export type ProjectsDeps = {
  readonly documents: Pick<StateDirectory<ProjectDocument>, 'load' | 'save' | 'remove'>;
  readonly mountsDeps: ServiceMountsDeps;
  /** Whether the engine has a volume of that name. */
  readonly hasVolume: (name: string) => boolean;
};

/** The projects of this host, and their services. Names and references outlive the process. */
export class Projects {
  readonly #deps: ProjectsDeps;
  /** By project, then by service. */
  readonly #services = new Map<string, Map<string, KnownService>>();
  readonly #byVolume = new Map<string, KnownService>();
  readonly #stores = new Map<string, ProjectRegistration['stores']>();
  /** The directory that each project was last registered from. */
  readonly #directories = new Map<string, string>();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(deps: ProjectsDeps) {
    this.#deps = deps;
  }

  /** Reads what an earlier process has left. @throws Error of the file system */
  async load(records: ReadonlyMap<string, MountRecord>): Promise<void> {
    for (const [project, document] of await this.#deps.documents.load()) {
      const { services, former, stores, directory } = document;
      this.#stores.set(project, stores);
      if (directory !== undefined) this.#directories.set(project, directory);
      for (const injection of former) this.#add({ injection, stores }, 'former', records);
      for (const injection of services) this.#add({ injection, stores }, 'current', records);
    }
    for (const { project, service } of records.values())
      if (this.find(project, service) === undefined) {
        const injection: Injection = { project, service, variables: [], files: [], exec: 'on' };
        this.#add({ injection, stores: {} }, 'lost', records);
      }
  }

  /** All services. */
  list(project?: string): readonly KnownService[] {
    const groups =
      project === undefined ? [...this.#services.values()] : [this.#services.get(project)];
    return groups.flatMap((services) => [...(services?.values() ?? [])]);
  }

  find(project: string, service: string): KnownService | undefined {
    return this.#services.get(project)?.get(service);
  }

  /** Whether {@link ofVolume} finds the service. */
  hasSecretsOf(name: string): boolean {
    const known = this.#byVolume.get(name);
    return known !== undefined && known.state !== 'lost';
  }

  /** The service of a volume. @throws SecretError OBJECT_NOT_FOUND */
  ofVolume(name: string): ServiceMounts {
    const known = this.#byVolume.get(name);
    if (known !== undefined && known.state !== 'lost') return known.mounts;
    throw new SecretError(
      'OBJECT_NOT_FOUND',
      `the agent does not know which secrets belong to the volume ${sanitizeUserText(name)}`,
      { hint: "run docker dso up in the project's directory" },
    );
  }

  /** As {@link ofVolume}, also if only its volumes are known. */
  findByVolume(name: string): ServiceMounts | undefined {
    return this.#byVolume.get(name)?.mounts;
  }

  /**
   * Replaces what a project asks for. A service that it does not name any more stays as long as the
   * engine has its volume: a profile that is not active has containers too.
   * @returns the services with containers that now receive something else
   * @throws SecretError INVALID_REQUEST if that would be containers of another directory
   */
  async put(project: string, registration: ProjectRegistration): Promise<readonly ServiceMounts[]> {
    const { services, stores, directory } = registration;
    this.#checkDirectory(project, registration);
    if (directory !== undefined) this.#directories.set(project, directory);
    const names = new Set(services.map(({ service }) => service));
    for (const [service, known] of this.#services.get(project) ?? [])
      if (!names.has(service) && known.state !== 'lost') {
        if (known.mounts.isInUse || this.#hasVolume(known)) known.state = 'former';
        else this.#forget(known);
      }
    this.#stores.set(project, stores);
    const changed = services.flatMap((injection): readonly ServiceMounts[] => {
      const wanted = { injection, stores };
      const mounts = this.find(project, injection.service)?.mounts;
      const isChanged = mounts?.isInUse === true && !isEqual(mounts.wanted, wanted);
      this.#add(wanted, 'current');
      return isChanged ? [mounts] : [];
    });
    await this.#save(project);
    return changed;
  }

  /** Forgets a project. A service that is mounted is forgotten when it no longer is. */
  async delete(project: string): Promise<void> {
    for (const known of this.list(project))
      if (known.mounts.isInUse) known.state = 'lost';
      else this.#forget(known);
    await this.#save(project);
  }

  /** To be called when a service may have lost its last container or its volume. */
  async tidy(name: string): Promise<void> {
    const known = this.#byVolume.get(name);
    if (known === undefined || known.state === 'current' || known.mounts.isInUse) return;
    if (known.state === 'former' && this.#hasVolume(known)) return;
    this.#forget(known);
    await this.#save(known.mounts.wanted.injection.project);
  }

  /** For Compose two directories with one name are one project. It does not warn. */
  #checkDirectory(
    project: string,
    { services, stores, directory, isNamed = false }: ProjectRegistration,
  ): void {
    const before = this.#directories.get(project);
    if (isNamed || before === undefined || directory === undefined || before === directory) return;
    const replaced = services.find((injection) => {
      const mounts = this.find(project, injection.service)?.mounts;
      return mounts?.isInUse === true && !isEqual(mounts.wanted, { injection, stores });
    });
    if (replaced === undefined) return;
    const [other, own] = [before, directory].map(sanitizeUserText);
    throw new SecretError(
      'INVALID_REQUEST',
      `the project ${project} runs from ${other}: from ${own}, its service ${replaced.service} would get other secrets`,
      {
        hint: `name this application with -p NAME or with name: in its Compose file; if it is the same application, replace it with -p ${project}`,
      },
    );
  }

  #hasVolume({ mounts }: KnownService): boolean {
    const { project, service } = mounts.wanted.injection;
    return Object.values(volumeNames(project, service)).some(this.#deps.hasVolume);
  }

  #add(
    wanted: Wanted,
    state: KnownService['state'],
    records?: ReadonlyMap<string, MountRecord>,
  ): void {
    const { project, service } = wanted.injection;
    const names = volumeNames(project, service);
    const existing = this.find(project, service);
    if (existing !== undefined) {
      existing.state = state;
      existing.mounts.wanted = wanted;
      return;
    }
    const record = records?.get(names.variables);
    const mounts = new ServiceMounts(wanted, this.#deps.mountsDeps, record);
    const known: KnownService = { mounts, state };
    const services = this.#services.get(project) ?? new Map<string, KnownService>();
    this.#services.set(project, services.set(service, known));
    for (const name of Object.values(names)) this.#byVolume.set(name, known);
  }

  #forget({ mounts }: KnownService): void {
    const { project, service } = mounts.wanted.injection;
    const services = this.#services.get(project);
    services?.delete(service);
    if (services?.size === 0) this.#services.delete(project);
    for (const name of Object.values(volumeNames(project, service))) this.#byVolume.delete(name);
  }

  /** One after another: the file must have what was registered last. */
  #save(project: string): Promise<void> {
    const saved = this.#queue.then(() => this.#write(project));
    this.#queue = saved.catch(() => undefined);
    return saved;
  }

  async #write(project: string): Promise<void> {
    const ofState = (state: KnownService['state']): Injection[] =>
      this.list(project)
        .filter((known) => known.state === state)
        .map(({ mounts }) => mounts.wanted.injection);
    const services = ofState('current');
    const former = ofState('former');
    const stores = this.#stores.get(project) ?? {};
    const directory = this.#directories.get(project);
    try {
      if (services.length + former.length > 0)
        await this.#deps.documents.save(project, {
          ...{ services, former, stores },
          ...(directory !== undefined && { directory }),
        });
      else {
        this.#stores.delete(project);
        this.#directories.delete(project);
        await this.#deps.documents.remove(project);
      }
    } catch (cause) {
      throw new SecretError(
        'NOT_CONFIGURED',
        `the state of project ${project} cannot be written: ${errorCodeOf(cause) ?? 'unknown error'}`,
        { hint: 'check the space and the rights of --state-dir', cause },
      );
    }
  }
}

function isEqual(one: Wanted, other: Wanted): boolean {
  return (
    JSON.stringify([one.injection, one.stores]) === JSON.stringify([other.injection, other.stores])
  );
}
