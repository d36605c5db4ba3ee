import { SecretError } from '../../errors/secret-error.ts';
import { quoteForeign } from '../../errors/status-text.ts';

/**
 * Where a standby sends the caller: to another of the login's own addresses. The token goes there, so nobody else is followed; and what was asked is asked
 * there as it was, whatever path the redirect names.
 * @returns the address
 * @throws SecretError STORE_ANSWER_INVALID
 */
export function followRedirect(
  location: string | undefined,
  { from, addresses }: { readonly from: string; readonly addresses: readonly string[] },
): string {
  const refuse = (why: string, hint?: string): never => {
    throw new SecretError('STORE_ANSWER_INVALID', `${from} redirects ${why}`, {
      // A redirect is sent instead of doing what was asked.
      unsent: true,
      ...(hint !== undefined && { hint }),
    });
  };
  if (location === undefined || !URL.canParse(location)) return refuse('to nowhere');
  const to = new URL(location);
  const place = quoteForeign(to.origin === 'null' ? to.protocol : to.origin);
  if (from.startsWith('https:') && to.protocol !== 'https:') return refuse(`from https to ${place}`);
  const isThere = (address: string): boolean =>
    !address.startsWith('unix:') && new URL(address).origin === to.origin;
  const address = addresses.find(isThere);
  if (address === undefined)
    return refuse(
      `to ${place}, which is not among the addresses`,
      'list the address of every node as it calls itself (api_addr), or let standby nodes forward',
    );
  return address;
}
