/**
 * What differs between two equal errors: the id of a request, a time, how long something took, and
 * the address of this end of a connection (`read tcp 10.0.0.7:41234->10.0.0.9:5432`).
 */
const varyingParts: readonly RegExp[] = [
  /\b(?:request|trace|correlation)[ _-]?id\b["']?\s*[:=]?\s*["']?[\w-]{4,}/gi,
  /\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b/gi,
  /\b\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d:?\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?/g,
  /\b(?:\d+h)?(?:\d+m)?\d+\.\d+(?:ns|us|µs|ms|s)(?!\w)/g,
  /(?:\b\d{1,3}(?:\.\d{1,3}){3}|\[[\da-f:]+\]):\d{1,5}(?=->)/gi,
];

/**
 * The text of a store with `...` in place of what differs between two equal errors. Kubernetes
 * counts events of the same text as one event.
 * @param requestId of the response that has the text
 */
export function repeatableText(text: string, requestId: string | undefined): string {
  const withoutId =
    requestId === undefined || requestId === '' ? text : text.replaceAll(requestId, '...');
  return varyingParts.reduce((result, part) => result.replace(part, '...'), withoutId);
}
