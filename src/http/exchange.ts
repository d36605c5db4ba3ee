import type { Dispatcher } from 'undici';
import type { SecretError } from '../core/errors.ts';

/** What bounds one exchange. */
type ExchangeOptions = {
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  readonly onTimeout: () => SecretError;
  /** The largest body that is collected. */
  readonly maxBytes: number;
  /** The error of a larger body. */
  readonly onTooLarge: () => SecretError;
  /** Receives the body of a 200, which is then not collected. An error of it ends the exchange. */
  readonly onData?: ((piece: Uint8Array) => void) | undefined;
};

/** A response as undici parses it: header names are in lower case. */
type RawResponse = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
};

/**
 * Sends one request and collects its response. It uses undici's handlers, since a stream for each
 * body was measured to cost a third of a request's CPU time.
 * @throws what undici reports; the errors of the options; the reason of the signal
 */
export function exchange(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  options: ExchangeOptions,
): Promise<RawResponse> {
  return new Promise((resolve, reject) => {
    const handler = new ResponseCollector(options, resolve, reject);
    try {
      dispatcher.dispatch(request, handler);
    } catch (thrown) {
      handler.end(thrown);
    }
  });
}

/** Settles once: with the response, or with the first failure, which also ends the request. */
class ResponseCollector implements Dispatcher.DispatchHandler {
  readonly #options: ExchangeOptions;
  readonly #resolve: (response: RawResponse) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #onAbort = (): void => this.end(this.#options.signal.reason);
  #controller: Dispatcher.DispatchController | undefined;
  #failure: unknown;
  #ended = false;
  #status = 0;
  #headers: RawResponse['headers'] = {};
  #pieces: Buffer[] = [];
  #length = 0;

  constructor(
    options: ExchangeOptions,
    resolve: (response: RawResponse) => void,
    reject: (reason: unknown) => void,
  ) {
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = setTimeout(() => this.end(options.onTimeout()), options.timeoutMs);
    this.#timer.unref();
    options.signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Fails the exchange, also before undici has started it. Does nothing after its end. */
  end(failure: unknown): void {
    if (this.#ended) return;
    this.#finish();
    this.#failure = failure;
    this.#controller?.abort(failure as Error);
    this.#reject(failure);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#ended) controller.abort(this.#failure as Error);
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: RawResponse['headers'],
  ): void {
    // A response below 200 precedes the response proper.
    this.#status = status;
    this.#headers = headers;
  }

  onResponseData(_controller: Dispatcher.DispatchController, piece: Buffer): void {
    if (this.#ended) return;
    const { onData, maxBytes, onTooLarge } = this.#options;
    if (onData !== undefined && this.#status === 200) {
      try {
        onData(piece);
      } catch (thrown) {
        this.end(thrown);
      }
      return;
    }
    this.#length += piece.length;
    if (this.#length > maxBytes) this.end(onTooLarge());
    else this.#pieces.push(piece);
  }

  onResponseEnd(): void {
    if (this.#ended) return;
    this.#finish();
    const body = Buffer.concat(this.#pieces, this.#length);
    this.#resolve({ status: this.#status, headers: this.#headers, body });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.end(error);
  }

  #finish(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#options.signal.removeEventListener('abort', this.#onAbort);
  }
}
