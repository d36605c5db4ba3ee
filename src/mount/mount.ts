import type { RawMountRequest } from './raw-request.ts';
import type { Volume } from './volume.ts';

/** The circumstances of one mount. */
export type Circumstances = {
  /** The provider whose socket the request came in by. */
  readonly provider: string;
  /** Fires, with a SecretError as its reason, at the deadline or when the caller leaves. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch: when the answer has to leave. */
  readonly deadline: number;
};

/** One mount, from request to volume. Rejects only with SecretError. */
export type Mount = (request: RawMountRequest, circumstances: Circumstances) => Promise<Volume>;
