import type { Logger } from 'pino';
import * as z from 'zod';
import { SecretError, toSecretError } from '../../core/errors.ts';
import type { ListedSecret } from '../../core/host-store.ts';
import { encode } from '../../http/uri.ts';
import type { VaultApi, VaultResponse } from './call/api.ts';
import { productName } from './describe.ts';
import type { VaultSession } from './types.ts';

/** More calls would take long, and a longer list is of no use. */
const maxCalls = 500;
const maxSecrets = 10_000;

const mountsSchema = z.object({
  data: z.object({
    secret: z.record(
      z.string(),
      z.object({
        type: z.string(),
        options: z.object({ version: z.string().nullish() }).nullish(),
      }),
    ),
  }),
});
const keysSchema = z.object({ data: z.object({ keys: z.array(z.string()) }) });

/** A folder of a KV engine. `path` is below `base`, with a slash at its end; empty: all of it. */
type Folder = { readonly base: string; readonly readBase: string; readonly path: string };

/** See {@link listKvSecrets}. */
export type ListDeps = { readonly api: VaultApi; readonly log: Logger };

/**
 * Lists the secrets of all KV engines that the token sees. A version of each would cost a call.
 * Folders that no policy lets it list are left out.
 * @throws SecretError ACCESS_DENIED where no folder may be listed
 */
export async function listKvSecrets(
  { api, log }: ListDeps,
  { login, token }: VaultSession,
  signal: AbortSignal,
): Promise<readonly ListedSecret[]> {
  const call = (method: string, path: string) =>
    api.call({ login, token, method, path, signal, mayIssue: false });
  const read = <T>(schema: z.ZodType<T>, response: VaultResponse): T => {
    const { success, data } = schema.safeParse(response.json());
    if (success) return data;
    throw new SecretError(
      'STORE_ANSWER_INVALID',
      `${productName(login)} sent a list that Keyferry does not understand`,
      { hint: `check that the address is that of ${productName(login)}` },
    );
  };
  const mounts = read(mountsSchema, await call('GET', 'sys/internal/ui/mounts'));
  const folders: Folder[] = Object.entries(mounts.data.secret).flatMap(
    ([mount, { type, options }]) => {
      if (type !== 'kv' && type !== 'generic') return [];
      const isVersion2 = options?.version === '2';
      const [base, readBase] = isVersion2 ? [`${mount}metadata/`, `${mount}data/`] : [mount, mount];
      return [{ base, readBase, path: '' }];
    },
  );
  const secrets: ListedSecret[] = [];
  let denial: SecretError | undefined;
  let listed = 0;
  for (const folder of folders) {
    if (listed === maxCalls || secrets.length >= maxSecrets) {
      log.warn(
        { provider: login.dialect, maxCalls },
        'the list of secrets is cut: too many folders',
      );
      break;
    }
    try {
      const response = await call('LIST', encodePath(folder.base + folder.path));
      listed += 1;
      if (response.status === 404) continue;
      for (const key of read(keysSchema, response).data.keys) {
        const path = folder.path + key;
        if (key.endsWith('/')) folders.push({ ...folder, path });
        else secrets.push({ path: folder.readBase + path });
      }
    } catch (thrown) {
      const error = toSecretError(thrown);
      if (error.code !== 'ACCESS_DENIED') throw error;
      denial ??= error;
    }
  }
  if (listed === 0 && denial !== undefined) throw denial;
  return secrets.sort(({ path: one }, { path: other }) => (one < other ? -1 : 1));
}

function encodePath(path: string): string {
  return path
    .split('/')
    .filter((segment) => segment !== '')
    .map(encode)
    .join('/');
}
