import { LRUCache } from 'lru-cache';
import type { RawMountRequest } from './raw-request.ts';
import { parseRequest, type MountRequest } from './request.ts';

/** Volumes and the characters of their requests. Tokens among them are kept for a few of the driver's rounds, of two minutes by default, and no longer. */
const limits = {
  max: 1_000,
  maxSize: 4 * 1024 * 1024,
  ttl: 10 * 60_000,
  ttlResolution: 0,
  ttlAutopurge: true,
};

type Known = Pick<RawMountRequest, 'attributes' | 'secrets' | 'permission'> & {
  readonly request: MountRequest;
};

/**
 * {@link parseRequest}, which remembers what it made of each volume's last request: until a token is renewed the driver asks with the very same
 * text, and reading it was measured to be a fifth of a cached mount. Requests that bring keys of their own are read anew each time: those are
 * valid for years, and not for us to keep.
 * @param now milliseconds of a clock that is never set
 */
export function createRequestReader(now = (): number => performance.now()): typeof parseRequest {
  const lastOf = new LRUCache<string, Known>({ ...limits, perf: { now } });
  return (raw, provider) => {
    const { attributes, secrets, permission } = raw;
    const volume = `${provider} ${raw.targetPath}`;
    const last = lastOf.get(volume);
    if (last?.attributes === attributes && last.secrets === secrets && last.permission === permission) {
      return last.request;
    }
    const request = parseRequest(raw, provider);
    if (request.workload.secrets.size === 0) {
      const size = volume.length + attributes.length + secrets.length;
      lastOf.set(volume, { attributes, secrets, permission, request }, { size });
    }
    return request;
  };
}
