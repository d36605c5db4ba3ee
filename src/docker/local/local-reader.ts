import { readFile } from 'node:fs/promises';
import { withTimeout } from '../../concurrency/deadline.ts';
import { SecretError, toSecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type {
  AgentInfo,
  ProjectRegistration,
  RefreshRequest,
  RefreshResult,
  SecretReader,
  ServiceStatus,
  StoreCheck,
  StoreSecret,
} from '../agent-api.ts';
import { findContainers } from '../compose/containers.ts';
import type { Docker } from '../compose/docker.ts';
import { toEngineError } from '../compose/images.ts';
import { checkStore } from '../delivery/check-store.ts';
import {
  type DeliverContext,
  type Delivery,
  type Wanted,
  instanceOf,
} from '../delivery/deliver.ts';
import { versionIn } from '../delivery/delivery-record.ts';
import { effectiveStore } from '../delivery/effective-store.ts';
import {
  type WholeHostConfig,
  checkReferences,
  describeHost,
  listSecrets,
} from '../delivery/host-requests.ts';
import { statusOf } from '../delivery/status.ts';
import { keysFrom, storeNameOf } from '../delivery/store-names.ts';
import type { Stores } from '../delivery/stores.ts';
import { composeLabels } from '../model/labels.ts';
import { mountOf } from '../volume/mount-table.ts';
import { checkEngineIsHere } from './engine-here.ts';
import { LocalCleanup } from './local-cleanup.ts';
import { goneStatuses, isLocal, serviceOf } from './local-containers.ts';
import { type LocalRecord, LocalRecords } from './local-records.ts';
import { type LocalDelivery, writeLocalVolumes } from './local-volumes.ts';
import {
  type LocalPlaces,
  findLocalPlaces,
  lockPlaces,
  prepareLocalPlaces,
} from './user-places.ts';

/** The stores of a user, open. */
export type LocalStores = {
  readonly stores: Stores;
  /** Resolves all secrets of a service. */
  readonly deliver: (wanted: Wanted, context: DeliverContext) => Promise<Delivery>;
  /** Closes connections. */
  close(): Promise<void>;
};

/** What a {@link LocalReader} needs. */
export type LocalReaderOptions = {
  readonly version: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly docker: Pick<Docker, 'capture'>;
  /** Reads the configuration of the user. @throws SecretError */
  readonly readConfig: () => Promise<WholeHostConfig>;
  /** @param keyDirectory where the key of versions is */
  readonly openStores: (host: WholeHostConfig, keyDirectory: string) => Promise<LocalStores>;
  /** Copies the shim into a directory. @returns its path @throws SecretError */
  readonly installShim: (directory: string) => Promise<string>;
  /** Shows a warning to the user. */
  readonly warn: (text: string) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
};

/** As long as a start with an agent may take. */
const readMs = 110_000;

/**
 * Local mode: this process reads the stores of the user, and writes what containers mount into
 * memory of the user. Nothing stays that could renew a secret or notice its change.
 */
export class LocalReader implements SecretReader {
  readonly #options: LocalReaderOptions;
  readonly #cleanup: LocalCleanup;
  #config: Promise<WholeHostConfig> | undefined;
  #prepared: Promise<LocalPlaces> | undefined;

  constructor(options: LocalReaderOptions) {
    this.#options = options;
    this.#cleanup = new LocalCleanup(options.env);
  }

  async info(): Promise<AgentInfo> {
    return { ...describeHost(this.#options.version, await this.#host()), mode: 'local' };
  }

  async volumes(): Promise<{ readonly directory: string }> {
    return { directory: (await this.#places()).volumes };
  }

  /** Reads the secrets of the selected services. Writes all of them, or nothing. */
  async putProject(
    _: string,
    project: ProjectRegistration,
    selected: ReadonlySet<string>,
  ): Promise<void> {
    await checkEngineIsHere(this.#options.docker);
    const { stores } = project;
    const wanted = project.services
      .filter(({ service }) => selected.has(service))
      .map((injection) => ({ injection, stores }));
    const deliveries = await this.#withStores(async ({ deliver, stores: opened }, context) => {
      await checkReferences(project, opened, await this.#host());
      return deliverAll(wanted, (each) => deliver(each, { ...context, isStart: true }));
    });
    await this.#write(deliveries);
  }

  deleteProject(name: string): Promise<void> {
    return this.#cleanup.deleteProject(name);
  }

  mayHaveProjects(): Promise<boolean> {
    return this.#cleanup.mayHaveProjects();
  }

  async services(project?: string): Promise<readonly ServiceStatus[]> {
    const label = composeLabels.project;
    const filter = project === undefined ? label : `${label}=${project}`;
    const [records, found, host] = await Promise.all([
      this.#records(),
      findContainers(this.#options.docker, [filter], { all: true }),
      this.#host().catch(() => undefined),
    ]);
    if ('errors' in found) throw toEngineError(found.errors);
    const containers = found.containers.filter(isLocal);
    const own = records.filter(
      ({ wanted: { injection } }) => project === undefined || injection.project === project,
    );
    const statuses = own.map((record) => {
      return statusOf(serviceOf(record, containers), (ref) =>
        host === undefined ? (ref.provider ?? '') : storeNameOf(record, ref, host),
      );
    });
    return [...statuses, ...goneStatuses(project ?? '', own, containers)];
  }

  async storeSecrets(store: string): Promise<readonly StoreSecret[]> {
    const [host, services] = [await this.#host(), await this.#records()];
    return this.#withStores(({ stores }, { signal }) =>
      listSecrets({ name: store, stores, host, services }, signal),
    );
  }

  async checkStore(name: string): Promise<StoreCheck> {
    const effective = effectiveStore(name, {}, await this.#host());
    return this.#withStores(async ({ stores }, { signal }) =>
      checkStore((await stores.open(effective)).store, signal),
    );
  }

  /** Reads all secrets of the services that use this one. */
  async refresh({ store, path }: RefreshRequest): Promise<RefreshResult> {
    const host = await this.#host();
    const { name } = effectiveStore(store, {}, host);
    const keysOf = (record: LocalRecord): readonly string[] =>
      keysFrom(record, { store: name, path }, host);
    const users = (await this.#records()).filter((record) => keysOf(record).length > 0);
    const deliveries = await this.#withStores(({ deliver }, context) =>
      deliverAll(
        users.map(({ wanted }) => wanted),
        (each) => deliver(each, context),
      ),
    );
    await this.#write(deliveries);
    const names = new Set(users.map(({ wanted }) => instanceOf(wanted.injection)));
    const written = (await this.#records()).filter(({ wanted }) =>
      names.has(instanceOf(wanted.injection)),
    );
    const version = written.flatMap((record) =>
      keysOf(record).flatMap((key) => versionIn(record.current, key) ?? []),
    )[0];
    const before = new Map(users.map((record) => [instanceOf(record.wanted.injection), record]));
    return {
      store: name,
      ...(version !== undefined && { version }),
      services: written.map((record) => {
        const service = instanceOf(record.wanted.injection);
        const old = before.get(service)?.current;
        const changed = keysOf(record).some(
          (key) => old?.secrets[key] !== record.current.secrets[key],
        );
        return { name: service, changed, rotates: false };
      }),
    };
  }

  /** @throws SecretError */
  async readLog(): Promise<void> {
    throw new SecretError('NOT_CONFIGURED', 'local mode has no agent, so there is no log of one', {
      hint: 'each command says what happens; docker dso inspect shows what containers have',
    });
  }

  #host(): Promise<WholeHostConfig> {
    return (this.#config ??= this.#options.readConfig());
  }

  #places(): Promise<LocalPlaces> {
    return (this.#prepared ??= prepareLocalPlaces(this.#options.env));
  }

  async #records(): Promise<readonly LocalRecord[]> {
    const places = await findLocalPlaces(this.#options.env);
    if (places === undefined || !(await this.mayHaveProjects())) return [];
    return lockPlaces(places).run(() => new LocalRecords(places.records).load());
  }

  async #write(deliveries: readonly LocalDelivery[]): Promise<void> {
    if (deliveries.length === 0) return;
    const places = await this.#places();
    const { installShim, warn, now } = this.#options;
    for (const { wanted, delivery } of deliveries)
      if (delivery.wholeTexts.length > 0)
        warn(
          `service ${wanted.injection.service}: a mapping names a key, and its secret is no JSON object: the whole text is used for ${delivery.wholeTexts.join(', ')}`,
        );
    if (await isNoexec(places.volumes))
      warn(
        `${places.volumes} is mounted with noexec: with newer versions of runc, containers cannot start the shim from it; mount it with exec`,
      );
    await writeLocalVolumes(deliveries, places, { installShim, now: now() });
  }

  async #withStores<T>(
    work: (stores: LocalStores, context: DeliverContext) => Promise<T>,
  ): Promise<T> {
    const { openStores, now } = this.#options;
    const host = await this.#host();
    const opened = await openStores(host, (await this.#places()).directory);
    try {
      const deadline = now() + readMs;
      return await withTimeout(readMs, new AbortController().signal, tooSlow, (signal) =>
        work(opened, { signal, deadline }),
      );
    } finally {
      await opened.close();
    }
  }
}

/** Older versions of runc ignore it, so it is no error. */
async function isNoexec(path: string): Promise<boolean> {
  const table = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  return mountOf(path, table)?.options.includes('noexec') === true;
}

/** @throws SecretError the first failure, and the names of the other services that have one */
async function deliverAll(
  wanted: readonly Wanted[],
  deliver: (wanted: Wanted) => Promise<Delivery>,
): Promise<readonly LocalDelivery[]> {
  const settled = await Promise.allSettled(wanted.map(deliver));
  const failures = settled.flatMap((result, index) => {
    const service = sanitizeUserText(wanted[index]?.injection.service ?? '');
    return result.status === 'rejected' ? [{ service, error: toSecretError(result.reason) }] : [];
  });
  const [first, ...others] = failures;
  if (first !== undefined) {
    const { code, message, hint } = first.error;
    throw new SecretError(code, `service ${first.service} does not start: ${message}`, {
      hint,
      cause: first.error,
      others: others.map(({ service }) => `service ${service}`),
    });
  }
  return settled.flatMap((result, index) => {
    const each = wanted[index];
    return result.status === 'fulfilled' && each !== undefined
      ? [{ wanted: each, delivery: result.value }]
      : [];
  });
}

function tooSlow(): SecretError {
  return new SecretError('DEADLINE', `the secrets were not read within ${readMs / 1_000} s`, {
    hint: 'check that this machine reaches the store: docker dso --mode local system doctor',
  });
}
