import type { SecretError } from '../../core/errors.ts';
import { statusText } from '../../core/safe-text.ts';
import type { Handle, JsonResponse } from './json-server.ts';

/** The fields of a request. None is checked. */
export type PluginFields = Readonly<Record<string, unknown>>;

/** What the engine can call a plugin for, such as volumes. */
export type PluginInterface = {
  /** As in the response to `/Plugin.Activate`. */
  readonly name: string;
  /** By path. Each returns the fields of its response. */
  readonly methods: Readonly<
    Record<string, (fields: PluginFields, signal: AbortSignal) => Promise<object> | object>
  >;
};

/** The media type of the protocol: https://docs.docker.com/engine/extend/plugin_api/. */
export const pluginContentType = 'application/vnd.docker.plugins.v1.2+json';

/**
 * Serves the interfaces of one plugin. The engine shows the text of `Err` to the user.
 *
 * The engine asks once for the list of interfaces, and remembers it until it restarts.
 */
export function createPlugin(interfaces: readonly PluginInterface[]): Handle {
  const methods = new Map(interfaces.flatMap((each) => Object.entries(each.methods)));
  methods.set('/Plugin.Activate', () => ({ Implements: interfaces.map(({ name }) => name) }));
  return async ({ method, url, json, signal }) => {
    const call = methods.get(url.pathname);
    if (call === undefined || method !== 'POST')
      return { status: 404, json: { Err: 'the plugin of docker dso has no such method' } };
    const fields = typeof json === 'object' && json !== null ? (json as PluginFields) : {};
    return { status: 200, json: { Err: '', ...(await call(fields, signal)) } };
  };
}

/** The engine reads `Err` of a response with status 200, and shows it as it is. */
export function toPluginError(error: SecretError): JsonResponse {
  return { status: 200, json: { Err: statusText(error.summary) } };
}
