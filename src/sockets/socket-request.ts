/** What {@link requestOverSocket} sends. */
export type SocketRequest = {
  readonly socketPath: string;
  readonly method: string;
  /** With its query. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly signal: AbortSignal;
  readonly maxBodyBytes: number;
  /** Called when the response begins. Its body is then no part of the result. */
  readonly onOpen?: (status: number) => void;
  /** Called for each piece of a body that is no part of the result. Its error ends the request. */
  readonly onPiece?: (piece: Buffer) => void;
};

/** A response with its whole body. */
export type SocketResponse = { readonly status: number; readonly text: string };

/**
 * Sends one HTTP request over a unix socket, on a connection of its own.
 * @throws Error of the connection; of the signal; for a body that is too large
 */
export async function requestOverSocket({
  maxBodyBytes,
  onOpen,
  onPiece,
  body,
  ...options
}: SocketRequest): Promise<SocketResponse> {
  // A command that asks nothing does not load it.
  const { request: httpRequest } = await import('node:http');
  const content = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const headers = {
    ...{ host: 'localhost' },
    ...(content && { 'content-type': 'application/json', 'content-length': content.length }),
  };
  return new Promise((resolve, reject) => {
    const request = httpRequest({ ...options, headers, agent: false }, (response) => {
      const pieces: Buffer[] = [];
      let bytes = 0;
      onOpen?.(response.statusCode ?? 0);
      response.on('data', (piece: Buffer) => {
        if (onOpen !== undefined) {
          try {
            onPiece?.(piece);
          } catch (error) {
            response.destroy(error as Error);
          }
          return;
        }
        bytes += piece.length;
        if (bytes <= maxBodyBytes) pieces.push(piece);
        else response.destroy(new Error('the response is too large'));
      });
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, text: Buffer.concat(pieces).toString() }),
      );
    });
    request.on('error', reject);
    request.end(content);
  });
}
