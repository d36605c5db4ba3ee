import type { Logger } from 'pino';
import { MemoryLimiter } from '../concurrency/memory-limiter.ts';
import { SecretError, codes, toSecretError } from '../core/errors.ts';
import { sanitizeUserText, statusText } from '../core/safe-text.ts';
import type { MountContext, MountStage } from '../mount/mount.ts';
import { causeForLog } from '../mount/redact-error.ts';
import type { Volume } from '../mount/types.ts';
import type { DriverMount, RawMountRequest } from './mount-request.ts';
import type { FailureStatus, RequestMemory, UnaryCall } from './grpc/server.ts';
import type { InFlightMount, InFlightMounts } from './in-flight-mounts.ts';
import { type MountResponse, PreparedResponse, mountMessage } from './messages.ts';
import type { CsiMetrics } from './metrics.ts';

/**
 * The volume as a message for the driver. `error` is never set: with a code there, the driver drops
 * the text.
 */
export function toResponse({ files, versions }: Volume): MountResponse {
  return { objectVersion: versions, error: undefined, files };
}

/**
 * The response with this volume. Its size is known before any file is copied.
 * @throws SecretError INTERNAL for a volume without files or versions (with an empty volume, the
 *   driver would keep the old files), RESPONSE_TOO_LARGE above `maxBytes`
 */
export function prepareResponse(volume: Volume, maxBytes: number): PreparedResponse {
  const { files, versions } = volume;
  if (
    files.length === 0 ||
    versions.length === 0 ||
    versions.some(({ version }) => version === '')
  ) {
    throw new SecretError('INTERNAL', 'the mount made a volume without files or versions', {
      hint: 'nothing was sent, and the pod keeps the files it has; please report this',
    });
  }
  const response = new PreparedResponse(toResponse(volume));
  if (response.bytes > maxBytes) throw responseTooLarge(volume, response.bytes, maxBytes);
  return response;
}

function responseTooLarge({ files }: Volume, bytes: number, maxBytes: number): SecretError {
  const largest = [...files].sort((a, b) => b.contents.length - a.contents.length).slice(0, 3);
  const named = largest
    .map(({ path, contents }) => `${sanitizeUserText(path)} (${contents.length})`)
    .join(', ');
  return new SecretError(
    'RESPONSE_TOO_LARGE',
    `the volume takes ${bytes} bytes and the driver accepts ${maxBytes}; its largest files: ${named}`,
    {
      hint: 'split the class, or raise maxCallRecvMsgSize of the driver together with --max-response-bytes',
    },
  );
}

/**
 * The status of an error. It is always final (docs/adr/0002), and its text is one printable line.
 */
export function toStatus(error: SecretError): FailureStatus {
  return { status: codes[error.code].grpc, text: statusText(error.event) };
}

/** The kubelet waits 120 s for a mount. A mount without a result by then has no final failure. */
const maxMountMs = 110_000;
/**
 * Responses up to this size do not wait for the memory limiter: an ordinary class has a few
 * kilobytes, and must not wait behind megabytes of others.
 */
const maxUnqueuedResponseBytes = 16 * 1024;
/** The size of ordinary requests: a class of 20 KiB, and tokens. */
const smallRequestBytes = 32 * 1024;

/** The options that all mounts of one provider share. */
export type MountHandlerOptions = {
  readonly provider: string;
  readonly mount: DriverMount;
  readonly maxResponseBytes: number;
  /** Limits the bytes of encoded responses that are not sent yet. */
  readonly responseMemory: MemoryLimiter;
  readonly inFlightMounts: InFlightMounts;
  readonly log: Logger;
  readonly metrics: CsiMetrics;
};

/**
 * The time limit of a mount for a caller's remaining time: a final status must still arrive in
 * time.
 */
export function mountTimeoutMs(remainingMs: number): number {
  return Math.max(0, Math.min(maxMountMs, Math.max(remainingMs - 10_000, remainingMs / 2)));
}

/**
 * Handles one Mount call, from its request to its status. Responds once, with a volume or a final
 * status: when the mount ends, at the time limit, when the caller cancels or when the process
 * stops, whichever comes first and whether or not the mount observes its signal.
 */
export function handleMount(
  call: UnaryCall,
  {
    provider,
    mount,
    maxResponseBytes,
    responseMemory,
    inFlightMounts,
    log,
    metrics,
  }: MountHandlerOptions,
): void {
  const now = Date.now();
  const ms = mountTimeoutMs(call.deadline - now);
  const controller = new AbortController();
  const context = new LazyMountContext(provider, now + ms, controller);
  let responded = false;
  let releaseResponseMemory: (() => void) | undefined;
  let targetPath: string | undefined;

  function respondOnce(respond: () => void): void {
    if (responded) return;
    responded = true;
    clearTimeout(timer);
    respond();
  }

  /** For errors that the mount itself has reported. */
  function fail(error: SecretError): void {
    respondOnce(() => {
      controller.abort(error);
      call.fail(toStatus(error));
    });
  }

  /** For errors that no other part reports. */
  function failAndReport(error: SecretError): void {
    if (responded) return;
    const { code } = error;
    metrics.transportFailures.inc({ provider, code });
    log.warn({ provider, code, targetPath, cause: causeForLog(error) }, error.message);
    fail(error);
  }

  async function send(volume: Volume): Promise<void> {
    const response = prepareResponse(volume, maxResponseBytes);
    const { bytes } = response;
    if (bytes > maxUnqueuedResponseBytes) {
      const release =
        responseMemory.tryAcquire(bytes) ??
        (await responseMemory.acquire(bytes, controller.signal));
      if (responded) return release();
      releaseResponseMemory = release;
    }
    metrics.responseBytes.observe({ provider }, bytes);
    respondOnce(() => call.respond(response.toFrame()));
  }

  async function run(): Promise<void> {
    const request = readRequest(call.message);
    targetPath = request.targetPath;
    return mount(request, context).then(send, (thrown: unknown) => {
      if (!(thrown instanceof SecretError)) throw thrown;
      fail(thrown);
    });
  }

  const timer = setTimeout(() => failAndReport(mountTimedOut(context.stage)), ms);
  const inFlight: InFlightMount = { fail: failAndReport };
  inFlightMounts.add(inFlight);
  call.onClose(() => {
    inFlightMounts.remove(inFlight);
    releaseResponseMemory?.();
    if (!responded) failAndReport(new SecretError('CANCELLED', 'the driver cancelled the request'));
  });
  run().catch((thrown: unknown) => failAndReport(toSecretError(thrown)));
}

/**
 * The context of a mount. It creates the signal, the most expensive part of a cached mount, at its
 * first use. A getter in an object literal would give every object its own hidden class, which was
 * measured to cost more than the rest of the transport. Therefore this is a class.
 */
class LazyMountContext implements MountContext {
  readonly provider: string;
  readonly deadline: number;
  stage: MountStage = 'slot';
  readonly #controller: AbortController;

  constructor(provider: string, deadline: number, controller: AbortController) {
    this.provider = provider;
    this.deadline = deadline;
    this.#controller = controller;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }
}

/** @throws SecretError INVALID_REQUEST */
function readRequest(message: Buffer): RawMountRequest {
  try {
    const { attributes, secrets, targetPath, permission } = mountMessage.decode(message);
    return { attributes, secrets, targetPath, permission };
  } catch (cause) {
    throw new SecretError('INVALID_REQUEST', 'the message is not a Mount request', {
      hint: 'only a Secrets Store CSI driver should call this socket',
      cause,
    });
  }
}

/**
 * Bounds the memory of requests, from their first byte until their stream closes. Ordinary requests
 * have a limiter of their own, so that they do not wait behind megabytes of others. A decoded
 * request takes about three times as much of the heap.
 */
export function createRequestMemory({
  inFlightMounts,
  maxSmallBytes = 8 * 1024 * 1024,
  maxLargeBytes = 4 * 1024 * 1024,
}: {
  readonly inFlightMounts: InFlightMounts;
  readonly maxSmallBytes?: number;
  readonly maxLargeBytes?: number;
}): RequestMemory {
  const small = new MemoryLimiter({ maxBytes: maxSmallBytes });
  const large = new MemoryLimiter({ maxBytes: maxLargeBytes });
  return {
    limiterFor: (bytes) => (bytes <= smallRequestBytes ? small : large),
    onWait(call) {
      const ms = mountTimeoutMs(call.deadline - Date.now());
      const waiting: InFlightMount = { fail: (error) => call.fail(toStatus(error)) };
      const timer = setTimeout(() => waiting.fail(noMemoryInTime()), ms);
      inFlightMounts.add(waiting);
      return () => {
        clearTimeout(timer);
        inFlightMounts.remove(waiting);
      };
    },
  };
}

function noMemoryInTime(): SecretError {
  return new SecretError(
    'OVERLOADED',
    "the request waited for memory until the driver's deadline: other large requests are in progress",
    { hint: 'make the classes smaller, or start fewer pods with large classes at the same time' },
  );
}

const slowStages: Readonly<Record<MountStage, { readonly reason: string; readonly hint: string }>> =
  {
    slot: {
      reason: 'it waited for other mounts of its namespace or its node to end',
      hint: 'see in the metrics what those wait for',
    },
    plan: {
      reason: 'it waited for facts of the node',
      hint: 'check the API server and the metadata service of the node, or write the region into the class',
    },
    authorize: {
      reason: 'it waited for the API server, or for the service that logs in to the store',
      hint: 'check that this node reaches them',
    },
    read: {
      reason: 'it waited for the store',
      hint: 'check that the store is reachable from this node; see the rate limit in the metrics',
    },
    cpu: {
      reason: 'it waited for CPU time, which other mounts use',
      hint: 'make the classes smaller, or raise the CPU limit of Keyferry',
    },
  };

/** Without the time: it differs with each request, and an event's text must repeat. */
function mountTimedOut(stage: MountStage): SecretError {
  const { reason, hint } = slowStages[stage];
  const message = `the mount was not finished before the driver's deadline: ${reason}`;
  return new SecretError('DEADLINE', message, { hint });
}
