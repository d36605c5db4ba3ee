import type { Logger } from 'pino';
import type { MemoryLimiter } from '../concurrency/memory-limiter.ts';
import { SecretError, codes, toSecretError } from '../core/errors.ts';
import { sanitizeExternalText, statusText } from '../core/safe-text.ts';
import type { MountContext } from '../mount/mount.ts';
import type { Volume } from '../mount/types.ts';
import type { DriverMount, RawMountRequest } from './mount-request.ts';
import type { FailureStatus, UnaryCall } from './grpc/server.ts';
import type { InFlightMount, InFlightMounts } from './in-flight-mounts.ts';
import { type MountResponse, encodeResponse, mountRequest, sizeOfResponse } from './messages.ts';
import type { CsiMetrics } from './metrics.ts';

/** The volume as the driver's message. `MountResponse.error` stays out of it: with a code there the driver drops the text. */
export function toResponse({ files, versions }: Volume): MountResponse {
  return { objectVersion: versions, error: undefined, files };
}

/**
 * The length in bytes of the volume's message, by arithmetic: a volume too large is not to be copied first.
 * @throws SecretError INTERNAL where the volume is none (an empty one would leave the old files in place), RESPONSE_TOO_LARGE beyond `maxBytes`
 */
export function measureResponse(volume: Volume, maxBytes: number): number {
  const { files, versions } = volume;
  if (
    files.length === 0 ||
    versions.length === 0 ||
    versions.some(({ version }) => version === '')
  ) {
    throw new SecretError('INTERNAL', 'the mount made a volume without files or versions', {
      hint: 'nothing was sent, the pod keeps what it has; please report this',
    });
  }
  const bytes = sizeOfResponse(toResponse(volume));
  if (bytes > maxBytes) throw responseTooLarge(volume, bytes, maxBytes);
  return bytes;
}

function responseTooLarge({ files }: Volume, bytes: number, maxBytes: number): SecretError {
  const largest = [...files].sort((a, b) => b.contents.length - a.contents.length).slice(0, 3);
  const named = largest
    .map(({ path, contents }) => `${sanitizeExternalText(path)} (${contents.length})`)
    .join(', ');
  return new SecretError(
    'RESPONSE_TOO_LARGE',
    `the volume takes ${bytes} bytes and the driver accepts ${maxBytes}; its largest files: ${named}`,
    {
      hint: 'split the class, or raise maxCallRecvMsgSize of the driver together with --max-response-bytes',
    },
  );
}

/** The status with which a failure leaves: always a final one (docs/adr/0002), its text one printable line. */
export function toStatus(error: SecretError): FailureStatus {
  return { status: codes[error.code].grpc, text: statusText(error.event) };
}

/** The kubelet's patience is 120 s; what it does not hear of within, it takes for a failure that is not final. */
const maxMountMs = 110_000;
/** Bytes of a request and of an answer that need no room: a class has a few kilobytes, and must not wait behind megabytes of others. */
const [unlimitedRequestBytes, unlimitedResponseBytes] = [32 * 1024, 16 * 1024];

/** What all mounts of one provider share. */
export type MountHandlerOptions = {
  readonly provider: string;
  readonly mount: DriverMount;
  readonly maxResponseBytes: number;
  /** For responses in the making. */
  readonly responseMemory: MemoryLimiter;
  /** For large requests, from the moment they are looked at to their answer. */
  readonly requestMemory: MemoryLimiter;
  readonly inFlightMounts: InFlightMounts;
  readonly log: Logger;
  readonly metrics: CsiMetrics;
};

/** Milliseconds that a mount may take, given the caller's own: early enough for a final answer to arrive. */
export function mountTimeoutMs(remainingMs: number): number {
  return Math.max(0, Math.min(maxMountMs, Math.max(remainingMs - 10_000, remainingMs / 2)));
}

/**
 * One Mount from request to status. Answers once, with a volume or a final status, when the mount settles, the time is up, the caller leaves or the
 * process ends, whichever comes first and whether or not the mount heeds its signal.
 */
export function handleMount(
  call: UnaryCall,
  {
    provider,
    mount,
    maxResponseBytes,
    responseMemory,
    requestMemory,
    inFlightMounts,
    log,
    metrics,
  }: MountHandlerOptions,
): void {
  const now = Date.now();
  const ms = mountTimeoutMs(call.deadline - now);
  const controller = new AbortController();
  let responded = false;
  let releaseResponseMemory: (() => void) | undefined;
  let releaseRequestMemory: (() => void) | undefined;
  let targetPath: string | undefined;

  function respondOnce(respond: () => void): void {
    if (responded) return;
    responded = true;
    clearTimeout(timer);
    respond();
  }

  /** For failures that the mount itself has told of. */
  function fail(error: SecretError): void {
    respondOnce(() => {
      controller.abort(error);
      call.fail(toStatus(error));
    });
  }

  /** For those that nobody else tells of. */
  function failAndReport(error: SecretError): void {
    if (responded) return;
    const { code, cause } = error;
    metrics.transportFailures.inc({ provider, code });
    log.warn({ provider, code, targetPath, ...describeThrown(cause) }, error.message);
    fail(error);
  }

  async function send(volume: Volume): Promise<void> {
    const bytes = measureResponse(volume, maxResponseBytes);
    if (bytes > unlimitedResponseBytes) {
      const release =
        responseMemory.tryAcquire(bytes) ??
        (await responseMemory.acquire(bytes, controller.signal));
      if (responded) return release();
      releaseResponseMemory = release;
    }
    metrics.responseBytes.observe({ provider }, bytes);
    respondOnce(() => call.respond(encodeResponse(toResponse(volume))));
  }

  async function run(): Promise<void> {
    const { length } = call.message;
    if (length > unlimitedRequestBytes) {
      const release =
        requestMemory.tryAcquire(length) ??
        (await requestMemory.acquire(length, controller.signal));
      if (responded) return release();
      releaseRequestMemory = release;
    }
    const request = readRequest(call.message);
    targetPath = request.targetPath;
    return mount(request, new LazyMountContext(provider, now + ms, controller)).then(
      send,
      (thrown: unknown) => {
        if (!(thrown instanceof SecretError)) throw thrown;
        fail(thrown);
      },
    );
  }

  const timer = setTimeout(() => failAndReport(mountTimedOut(ms)), ms);
  const inFlight: InFlightMount = { fail: failAndReport };
  inFlightMounts.add(inFlight);
  call.onStreamClose(() => {
    inFlightMounts.remove(inFlight);
    releaseResponseMemory?.();
    releaseRequestMemory?.();
    if (!responded) failAndReport(new SecretError('CANCELLED', 'the driver gave this request up'));
  });
  run().catch((thrown: unknown) => failAndReport(toSecretError(thrown)));
}

/**
 * What the mount is told. The signal, the dearest part of a cached mount, is made when first looked at. A class for its getter's sake: one in an
 * object literal makes a hidden class for every object, which was measured to cost more than all the rest of the transport.
 */
class LazyMountContext implements MountContext {
  readonly provider: string;
  readonly deadline: number;
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
  const { attributes, secrets, targetPath, permission, currentObjectVersion } =
    decodeRequest(message);
  return { attributes, secrets, targetPath, permission, currentVersions: currentObjectVersion };
}

function decodeRequest(message: Buffer): ReturnType<typeof mountRequest.decode> {
  try {
    return mountRequest.decode(message);
  } catch (cause) {
    throw new SecretError('INVALID_REQUEST', 'what came is no Mount request', {
      hint: 'only a Secrets Store CSI driver should call this socket',
      cause,
    });
  }
}

function mountTimedOut(ms: number): SecretError {
  return new SecretError(
    'DEADLINE',
    `the mount was not finished within ${Math.round(ms / 100) / 10} s`,
    {
      hint: 'the store, or what it takes to log in there, does not answer in time',
    },
  );
}

/** Name and stack frames; the message of a foreign error could hold anything (JSON.parse quotes what it read). */
function describeThrown(thrown: unknown): { errorName?: string; frames?: string[] } {
  if (typeof thrown !== 'object' || thrown === null || !('stack' in thrown)) return {};
  const frames = String(thrown.stack).match(/^ {4}at .*$/gm) ?? [];
  return {
    errorName: 'name' in thrown ? String(thrown.name) : 'unknown',
    frames: frames.slice(0, 10),
  };
}
