import { randomUUID } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeVolume } from '../../src/mount/volume-writer.ts';
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
   * `1.5`: sends the socket's path as authority. A ticker rotates, with the versions, without a
   * deadline and without the pod's own attributes. `1.6`: sends `localhost`. The kubelet
   * republishes, and the request is the same as for a first mount.
   */
  readonly generation: '1.5' | '1.6';
  /** Default: as the generation sends it. A plain Node server accepts only `localhost`. */
  readonly authority?: 'localhost' | 'socket-path';
  /** The directory of the volumes. */
  readonly dir: string;
  /** Whether rotation is enabled. Default true. */
  readonly rotation?: boolean;
  /** 1.6 mounts on a republish only if the files are older than this. Default 0: always. */
  readonly pollIntervalMs?: number;
  /** The kubelet's deadline; default 120 s. */
  readonly deadlineMs?: number;
  /** Default 4 MiB. */
  readonly maxReceiveBytes?: number;
  /**
   * Between attempts after UNAVAILABLE; default 10 ms, where the driver itself waits about a
   * second.
   */
  readonly retryDelayMs?: number;
  /** Kubernetes >= 1.35 with `serviceAccountTokenInSecrets`; default false. */
  readonly tokensInSecrets?: boolean;
};

/** See {@link createDriver}. */
export type Driver = {
  /** Starts a pod: its first mount. */
  publish(publication: Publication): Promise<PodView>;
  /**
   * The next round for a pod: a rotation (1.5) or a republish of the kubelet (1.6) for a running
   * pod, and the kubelet's retry for a pending one. `changes`: the changes since the last round.
   */
  republish(
    view: PodView,
    changes?: Partial<Omit<Publication, 'pod' | 'volume'>>,
  ): Promise<PodView>;
  /** Removes the volume of a deleted pod. The driver does not notify the provider. */
  unpublish(view: PodView): Promise<void>;
  close(): void;
};

/**
 * Simulates the Secrets Store CSI driver, and the kubelet where it matters, for the providers in
 * `providersDir`: the requests, the checks of the responses, the files on the disk, and what a user
 * of the pod sees.
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

  /** Mounts with the provider and writes the files. A failure changes nothing.  */
  async function mount(view: PodView, trigger: MountRequestInput['trigger']): Promise<PodView> {
    const { pod, directory } = view;
    const publication = publications.get(directory);
    if (publication === undefined) throw new Error(`the pod ${pod.name} does not exist any more`);
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
      // 1.6 reports no failure: the old files stay, and the kubelet gets OK.
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
