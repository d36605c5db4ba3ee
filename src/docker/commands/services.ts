import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import { nearestName } from '../../formats/suggest.ts';

/** The error for a service that the application does not have. */
export function unknownService(service: string, services: readonly string[]): SecretError {
  const nearest = nearestName(service, services);
  const names = `the services are ${services.slice(0, 20).map(sanitizeUserText).join(', ')}`;
  const hint = nearest === undefined ? names : `did you mean ${sanitizeUserText(nearest)}?`;
  return new SecretError('INVALID_REQUEST', `there is no service ${sanitizeUserText(service)}`, {
    hint,
  });
}
