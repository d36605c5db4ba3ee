import type { ContainerFile } from './container.ts';

/** A Kubernetes Secret that the driver creates from the files of a volume. */
export type SecretObject = {
  readonly secretName: string;
  readonly type?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly data: readonly { readonly objectName: string; readonly key: string }[];
};

/** One line of `kubectl describe pod`. */
export type Event = { readonly reason: string; readonly message: string };

/** Kubernetes Secrets as text, by name and key. */
export type SyncedSecrets = Readonly<Record<string, Readonly<Record<string, string>>>>;

/**
 * Creates the Secrets of a class's `secretObjects` from the files. A Secret that names a missing
 * file is left out.
 */
export function syncSecrets(
  objects: readonly SecretObject[],
  files: Readonly<Record<string, ContainerFile>>,
): { secrets: SyncedSecrets; events: Event[] } {
  const events: Event[] = [];
  const secrets: Record<string, Record<string, string>> = {};
  for (const { secretName, data } of objects) {
    const missing = data.find(({ objectName }) => files[objectName] === undefined);
    if (missing === undefined)
      secrets[secretName] = Object.fromEntries(
        data.map(({ key, objectName }) => [key, files[objectName]?.text ?? '']),
      );
    else
      events.push({
        reason: 'FailedToCreateSecret',
        message: `failed to get data in spc for secret ${secretName}, err: file matching objectName ${missing.objectName} not found in the pod`,
      });
  }
  return { secrets, events };
}
