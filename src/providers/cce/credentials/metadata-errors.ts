import type { HttpResponse } from '../../../http/client.ts';
import { retryAfterOf } from '../../../http/response.ts';
import type { ErrorResponse, StoreErrorRule } from '../../shared/reads/store-errors.ts';
import type { Texts } from '../texts.ts';

/** What a request to the metadata service requests. */
export type MetadataResource = 'token' | 'keys' | 'description';

type MetadataErrorResponse = ErrorResponse & {
  readonly status: number;
  readonly resource: MetadataResource;
};

type MetadataContext = { readonly host: string; readonly texts: Texts };
type MetadataRule = StoreErrorRule<MetadataErrorResponse, MetadataContext>;

/**
 * Parses a response of the metadata service. Its errors have no documented form.
 * @param now milliseconds since the epoch
 */
export function parseMetadataError(
  { status, headers, body }: HttpResponse,
  resource: MetadataResource,
  now: number,
): MetadataErrorResponse {
  return {
    status,
    code: undefined,
    text: body.toString(),
    requestId: undefined,
    retryAfterMs: retryAfterOf(headers, now),
    resource,
  };
}

/** Huawei Cloud sends this with HTTP 401. A new token does not help. */
export const noAgencyErrors: readonly MetadataRule[] = [
  {
    match: ({ status, resource, text }) =>
      resource === 'keys' &&
      status >= 400 &&
      text.includes('Please configure Cloud Service Agency first'),
    code: 'NOT_CONFIGURED',
    message: ({ texts }) =>
      `${texts.triedBefore}this ${texts.machine} has no agency to read secrets with`,
    hint: ({ texts }) => texts.noAgencyHint,
    hidesText: true,
  },
];

/**
 * A retry can help. For a token, 5xx is not an outage: 503 means that the service has no tokens.
 */
export const transientMetadataErrors: readonly MetadataRule[] = [
  {
    match: ({ status, resource }) => status === 429 || (status >= 500 && resource !== 'token'),
    code: 'STORE_UNAVAILABLE',
    message: ({ host }) => `${host} failed`,
    hidesText: true,
  },
];

/** Responses of the metadata service. The last row matches everything. */
export const metadataErrors: readonly MetadataRule[] = [
  ...transientMetadataErrors,
  ...noAgencyErrors,
  {
    match: () => true,
    code: 'CREDENTIALS_UNAVAILABLE',
    message: ({ texts }, { resource }) =>
      `${texts.triedBefore}the metadata service of this ${texts.machine} gave no ${resource}`,
    hint: ({ texts }) => texts.metadataHint,
    hidesText: true,
  },
];
