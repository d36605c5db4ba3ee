import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';

/** Where a request goes, and how. */
export type Target = {
  readonly url: URL;
  readonly socketPath?: string;
};

/**
 * A path of Vault at one of its addresses.
 * @param address as a login has it: `https://vault:8200`, `unix:///run/agent.sock`
 * @param path below `v1/`, percent-encoded, with its query
 * @throws SecretError INVALID_CLASS for a path that would be sent as another, as `a/../../b` would
 */
export function targetOf(address: string, path: string): Target {
  const [, socketPath] = /^unix:\/\/(\/.+)$/.exec(address) ?? [];
  const origin = socketPath === undefined ? address : 'http://localhost';
  const url = new URL(`${origin}/v1/${path}`);
  if (`${url.pathname}${url.search}` !== `/v1/${path}`)
    throw new SecretError(
      'INVALID_CLASS',
      `${quoteForeign(path.replace(/\?.*$/s, ''))} is no path of Vault`,
      {
        hint: 'a path must be percent-encoded, and has no "." or ".." in it',
      },
    );
  return { url, ...(socketPath !== undefined && { socketPath }) };
}
