import { randomUUID } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeVolume } from '../../src/cli/mount/volume-writer.ts';
import { isFinal, rpcError } from './mount-result.ts';
import { parseClass, type PodView, type Publication } from './cluster.ts';
import { createConnections } from './connections.ts';
import { readContainerFiles } from './container.ts';
import { mountRequest, type MountRequestInput } from './request.ts';
import { syncSecrets } from './synced-secrets.ts';

export type DriverOptions = {
  /** Where the driver looks for `<provider>.sock`. */
  readonly providersDir: string;
  /**
   * `1.5`: sends the socket's path as authority; a ticker rotates, with the versions filled in, without deadline and without the pod's
   * own attributes. `1.6`: sends `localhost`; the kubelet republishes, and nothing tells that from a first mount.
   */
  readonly generation: '1.5' | '1.6';
  /** Default by generation. A provider on bare Node hears only `localhost`. */
  readonly authority?: 'localhost' | 'socket-path';
  /** Pods' volumes are made below it. */
  readonly dir: string;
  /** Whether rotation is switched on; default true. */
  readonly rotation?: boolean;
  /** 1.6 lets a republish through only if the files did not change for so long; default 0: always. */
  readonly pollIntervalMs?: number;
  /** The kubelet's deadline; default 120 s. */
  readonly deadlineMs?: number;
  /** Default 4 MiB. */
  readonly maxReceiveBytes?: number;
  /** Between attempts after UNAVAILABLE; default 10 ms, where the driver itself waits about a second. */
  readonly retryDelayMs?: number;
  /** Kubernetes >= 1.35 with `serviceAccountTokenInSecrets`; default false. */
  readonly tokensInSecrets?: boolean;
};

/** See {@link createDriver}. */
export type Driver = {
  /** Starts a pod: its first mount. */
  publish(publication: Publication): Promise<PodView>;
  /**
   * The next round for a pod: for a running one a rotation (1.5) or the kubelet's republish (1.6), for a pending one the kubelet's next
   * try. `changes`: what is no longer as at the last round.
   */
  republish(
    view: PodView,
    changes?: Partial<Omit<Publication, 'pod' | 'volume'>>,
  ): Promise<PodView>;
  /** Ends a pod's volume and removes it. No provider ever hears of it. */
  unpublish(view: PodView): Promise<void>;
  close(): void;
};

/**
 * Plays the Secrets Store CSI driver, with the kubelet as far as it matters, against whatever listens in `providersDir`: what a provider
 * is sent, what of its answers is refused, what ends on the disk, and what of all that the pod's user sees.
 */
export function createDriver(options: DriverOptions): Driver {
  const { generation, rotation = true, pollIntervalMs = 0, deadlineMs = 120_000 } = options;
  const connections = createConnections({
    providersDir: options.providersDir,
    retryDelayMs: options.retryDelayMs ?? 10,
    client: {
      authority: options.authority ?? (generation === '1.5' ? 'socket-path' : 'localhost'),
      maxReceiveBytes: options.maxReceiveBytes ?? 4 * 1024 * 1024,
    },
  });
  /** By the volume's directory. */
  const publications = new Map<string, Publication>();

  /** Asks the provider and writes what it answers; a failure leaves all as it was. */
  async function mount(view: PodView, trigger: MountRequestInput['trigger']): Promise<PodView> {
    const { pod, directory } = view;
    const publication = publications.get(directory);
    if (publication === undefined) throw new Error(`there is no pod ${pod.name} any more`);
    const { attributes = {}, tokens = {}, nodePublishSecret } = publication;
    const spc =
      typeof publication.class === 'string' ? parseClass(publication.class) : publication.class;
    const request = mountRequest({
      ...{ trigger, pod, attributes, tokens, nodePublishSecret, class: spc },
      tokensInSecrets: options.tokensInSecrets ?? false,
      targetPath: directory,
      versions: view.status?.objects ?? [],
    });
    const result = await connections.mount(
      spc.spec.provider,
      request,
      trigger === 'rotation' ? undefined : deadlineMs,
    );
    if ('code' in result) return { ...view, last: result };
    try {
      await writeVolume(directory, result);
    } catch (error) {
      return { ...view, last: { code: 'UNKNOWN', message: `failed to write: ${String(error)}` } };
    }
    const files = await readContainerFiles(directory);
    const { secrets, events } = syncSecrets(spc.spec.secretObjects ?? [], files);
    const status = {
      name: `${pod.name}-${pod.namespace}-${spc.metadata.name}`,
      objects: result.objectVersion,
    };
    return {
      ...view,
      phase: 'Running',
      files,
      status,
      secrets,
      events: [...view.events, ...events],
      last: 'mounted',
    };
  }

  async function firstMount(pending: PodView): Promise<PodView> {
    const { pod, volume, directory } = pending;
    await mkdir(directory, { recursive: true });
    const view = await mount(pending, 'publish');
    if (typeof view.last === 'string') return view;
    const wrapped = `failed to mount secrets store objects for pod ${pod.namespace}/${pod.name}, err: ${rpcError(view.last)}`;
    const message = `MountVolume.SetUp failed for volume "${volume}" : ${rpcError({ ...view.last, message: wrapped })}`;
    const events = [...view.events, { reason: 'FailedMount', message }];
    if (generation === '1.6' && rotation && !isFinal(view.last))
      return { ...view, phase: 'Running', trapped: true, events };
    await rm(directory, { recursive: true });
    return { ...view, events };
  }

  async function isRecentlyWritten(directory: string): Promise<boolean> {
    if (generation === '1.5' || pollIntervalMs === 0) return false;
    return Date.now() - (await stat(directory)).mtimeMs < pollIntervalMs;
  }

  return {
    publish(publication) {
      const pod = {
        name: 'app',
        namespace: 'default',
        uid: randomUUID(),
        serviceAccount: 'default',
        ...publication.pod,
      };
      const { volume = 's' } = publication;
      const directory = join(options.dir, pod.uid, volume, 'mount');
      publications.set(directory, publication);
      return firstMount({
        pod,
        volume,
        phase: 'Pending',
        trapped: false,
        directory,
        files: {},
        events: [],
        last: 'skipped',
        secrets: {},
      });
    },
    async republish(view, changes = {}) {
      const publication = publications.get(view.directory);
      if (publication !== undefined)
        publications.set(view.directory, { ...publication, ...changes });
      if (view.phase === 'Pending') return firstMount(view);
      if (!rotation || view.trapped || (await isRecentlyWritten(view.directory)))
        return { ...view, last: 'skipped' };
      const next = await mount(view, generation === '1.5' ? 'rotation' : 'publish');
      // 1.6 tells nobody: the old files stay, and the kubelet is told that all is well.
      if (typeof next.last === 'string' || generation === '1.6') return next;
      const message = `provider mount err: ${rpcError(next.last)}`;
      return { ...next, events: [...next.events, { reason: 'MountRotationFailed', message }] };
    },
    async unpublish(view) {
      publications.delete(view.directory);
      await rm(dirname(view.directory), { recursive: true, force: true });
    },
    close: () => connections.close(),
  };
}
