import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { errorCodeOf, toSecretError } from '../../core/errors.ts';
import type { HandedOverLease } from '../../core/handed-over-lease.ts';
import { refKey } from '../../core/plan.ts';
import type { Grant, Provider } from '../../core/provider.ts';
import { replaceFile } from '../../files/replace-file.ts';
import { grantsOf, instanceOf } from '../delivery/deliver.ts';
import type { HostConfig } from '../delivery/effective-store.ts';
import type { KnownService } from './projects.ts';
import type { ServiceMounts } from './service-mounts.ts';
import type { Stores } from '../delivery/stores.ts';

/** What a {@link LeaseKeeper} needs. */
export type LeaseKeeperDeps = {
  /** On the tmpfs of the volumes, where only root looks: it has values and tokens. */
  readonly file: string;
  readonly leases: {
    handOver(): readonly HandedOverLease[];
    takeOver(provider: Provider, grant: Grant, handedOver: HandedOverLease): boolean;
    releaseReplaced(instance: string, readAt: number): void;
  };
  readonly stores: Stores;
  readonly host: HostConfig;
  readonly log: Logger;
};

const saveMs = 1_000;
/** For the identity of the host. Vault needs no call for it. */
const authorizeMs = 10_000;

/**
 * Keeps leases, such as database users of Vault, over a restart of the agent: running containers
 * use them. Beside the volumes, in memory, it writes each leased value and what renews its lease.
 * See docs/adr/0022.
 */
export class LeaseKeeper {
  readonly #deps: LeaseKeeperDeps;
  #saved = '[]';
  #timer: NodeJS.Timeout | undefined;
  #queue: Promise<void> = Promise.resolve();

  constructor(deps: LeaseKeeperDeps) {
    this.#deps = deps;
  }

  /**
   * Takes over the leases of an earlier process. One that cannot be kept is logged, and its secret
   * is read again.
   */
  async load(find: (project: string, service: string) => KnownService | undefined): Promise<void> {
    const { file, log } = this.#deps;
    const byInstance = new Map<string, HandedOverLease[]>();
    try {
      const text = await readFile(file, 'utf8');
      for (const lease of JSON.parse(text) as readonly HandedOverLease[])
        byInstance.set(lease.instance, [...(byInstance.get(lease.instance) ?? []), lease]);
      this.#saved = text;
    } catch (thrown) {
      if (errorCodeOf(thrown) !== 'ENOENT')
        log.warn({ file }, 'the leases of the last process cannot be read');
    }
    await Promise.all(
      Array.from(byInstance, async ([instance, leases]) => {
        const [project = '', service = ''] = instance.split('/');
        const known = find(project, service);
        const kept =
          known === undefined || known.state === 'lost' ? 0 : await this.#takeOver(known, leases);
        const fields = { project, service, kept, lost: leases.length - kept };
        log[kept < leases.length ? 'warn' : 'info'](fields, 'leases of the last process');
      }),
    );
  }

  /** Gives back the leases that no container of a service uses any more. */
  releaseReplaced({ wanted, isStale, outdated, readAt }: ServiceMounts): void {
    if (isStale || outdated.length > 0) return;
    this.#deps.leases.releaseReplaced(instanceOf(wanted.injection), readAt);
  }

  start(): void {
    this.#timer = setInterval(() => void this.#save(), saveMs);
    this.#timer.unref();
  }

  /** Writes the last state. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#save();
  }

  /** @returns how many are kept */
  async #takeOver(
    { mounts }: KnownService,
    handedOver: readonly HandedOverLease[],
  ): Promise<number> {
    const { leases, log } = this.#deps;
    let kept = 0;
    try {
      const signal = AbortSignal.timeout(authorizeMs);
      for (const { provider, grants } of await grantsOf(mounts.wanted, signal, this.#deps))
        for (const grant of grants) {
          const lease = handedOver.find(
            (each) => each.provider === provider.name && each.ref === refKey(grant.ref),
          );
          if (lease !== undefined && leases.takeOver(provider, grant, lease)) kept += 1;
        }
    } catch (thrown) {
      const { code, summary } = toSecretError(thrown);
      const service = instanceOf(mounts.wanted.injection);
      log.warn({ service, code, reason: summary }, 'a lease of the last process is not kept');
    }
    return kept;
  }

  /** A process that is killed has lost what changed within the last second. */
  #save(): Promise<void> {
    const { file, leases, log } = this.#deps;
    this.#queue = this.#queue.then(async () => {
      const text = JSON.stringify(leases.handOver());
      if (text === this.#saved) return;
      try {
        await replaceFile(file, text, { mode: 0o600, unfinished: `${file}.tmp` });
        this.#saved = text;
      } catch (thrown) {
        log.warn({ file, code: errorCodeOf(thrown) }, 'leases are not written');
      }
    });
    return this.#queue;
  }
}
