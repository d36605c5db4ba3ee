import * as z from 'zod';
import { pino } from 'pino';
import { readProjectDocument } from '../delivery/documents.ts';
import type { Wanted } from '../delivery/deliver.ts';
import { type DeliveryRecord, deliveryRecord } from '../delivery/delivery-record.ts';
import { StateDirectory } from '../delivery/state-file.ts';
import { volumeNames } from '../model/volumes.ts';

/** What one service has: names, references and versions, and never a value. */
export type LocalRecord = {
  readonly wanted: Wanted;
  /** What its volumes hold, and since when. */
  readonly current: DeliveryRecord;
  /** Since when its variables have these values, in milliseconds since the epoch. */
  readonly variablesSince: number;
};

const record = z.strictObject({
  project: z.unknown(),
  current: deliveryRecord,
  variablesSince: z.number(),
});

function readLocalRecord(json: unknown): LocalRecord {
  const { project, ...rest } = record.parse(json);
  const { services, stores } = readProjectDocument(project);
  const [injection] = services;
  if (injection === undefined) throw new Error('the record has no service');
  return { wanted: { injection, stores }, ...rest };
}

/** The records of all services that local mode has started. They lie beside their volumes. */
export class LocalRecords {
  readonly #files: StateDirectory<object>;

  constructor(directory: string) {
    // A record that cannot be read is as none: the next start writes it again.
    const log = pino({ level: 'silent' });
    this.#files = new StateDirectory<object>(directory, { decode: readLocalRecord, log });
  }

  /** @throws Error of the file system */
  async load(): Promise<readonly LocalRecord[]> {
    return [...(await this.#files.load()).values()] as readonly LocalRecord[];
  }

  /** @throws Error of the file system */
  async save({ wanted: { injection, stores }, ...rest }: LocalRecord): Promise<void> {
    const { project, service } = injection;
    const { variables } = volumeNames(project, service);
    const document = { services: [injection], former: [], stores };
    await this.#files.save(variables, { project: document, ...rest });
  }
}
