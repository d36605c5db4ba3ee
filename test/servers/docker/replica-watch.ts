import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

type Listed = { readonly Id: string; readonly Labels: Readonly<Record<string, string>> };
type Event = {
  readonly Action: string;
  readonly time: number;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
};

const serviceLabel = 'com.docker.compose.service';

/**
 * Follows the containers of a Compose project by the events of the engine, over its restarts. What
 * happens while the engine is away, or before it serves, does not count: that is the engine's own
 * doing.
 */
export class ReplicaWatch {
  /** The ends of the last running container of a service. */
  readonly outages: string[] = [];
  /** How many containers have started, by service. */
  readonly starts = new Map<string, number>();
  readonly #socketPath: string;
  readonly #project: string;
  /** Ids by service. */
  readonly #running = new Map<string, Set<string>>();
  readonly #stop = new AbortController();

  constructor(socketPath: string, project: string) {
    this.#socketPath = socketPath;
    this.#project = project;
    void this.#watch();
  }

  stop(): void {
    this.#stop.abort();
  }

  async #watch(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#running.clear();
      // The engine is away.
      await this.#follow().catch(() => undefined);
      await sleep(50);
    }
  }

  async #follow(): Promise<void> {
    const label = [`com.docker.compose.project=${this.#project}`];
    const filters = { type: ['container'], event: ['start', 'die'], label };
    const events = await this.#get(`/events?filters=${JSON.stringify(filters)}`);
    const listed = await this.#get(`/containers/json?filters=${JSON.stringify({ label })}`);
    const text = await listed.setEncoding('utf8').toArray();
    for (const { Id, Labels } of JSON.parse(text.join('')) as readonly Listed[])
      this.#runningOf(Labels).add(Id);
    for await (const line of createInterface({ input: events })) {
      const { Action, time, Actor } = JSON.parse(line) as Event;
      const running = this.#runningOf(Actor.Attributes);
      if (Action === 'start') {
        running.add(Actor.ID);
        const service = Actor.Attributes[serviceLabel] ?? '';
        this.starts.set(service, (this.starts.get(service) ?? 0) + 1);
      } else if (running.delete(Actor.ID) && running.size === 0)
        this.outages.push(
          `${Actor.Attributes.name} ended at ${new Date(time * 1_000).toISOString()}`,
        );
    }
  }

  #runningOf(labels: Readonly<Record<string, string>>): Set<string> {
    const service = labels[serviceLabel] ?? '';
    const running = this.#running.get(service) ?? new Set<string>();
    this.#running.set(service, running);
    return running;
  }

  #get(path: string): Promise<IncomingMessage> {
    const options = {
      ...{ socketPath: this.#socketPath, path: `/v1.41${encodeURI(path)}` },
      ...{ agent: false, signal: this.#stop.signal },
    };
    return new Promise((resolve, reject) => get(options, resolve).once('error', reject));
  }
}
