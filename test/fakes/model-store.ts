import type { SecretError } from '../../src/core/errors.ts';
import type { SecretRef } from '../../src/core/plan.ts';
import type { FetchResult, Grant, Lease, SecretValue } from '../../src/core/provider.ts';
import { absent, failed, unchanged, type Answer, type Call, type Renewal } from './scripted-provider.ts';
import { minute, second } from './store-rig.ts';

/** A kind of secret: where it is, whom its answers may serve, and what they are like. */
export type Kind = {
  readonly ref: SecretRef;
  readonly scope: Grant['scope'];
  readonly like: 'moving' | 'pinned' | 'ending' | 'leased' | 'shareable' | 'fickle';
};

/** The secrets of the model; `first` falls back on `second`. */
export const kinds: readonly Kind[] = [
  { ref: { service: 'kms', name: 'moving' }, scope: 'principal', like: 'moving' },
  { ref: { service: 'kms', name: 'pinned', version: '7' }, scope: 'principal', like: 'pinned' },
  { ref: { service: 'kms', name: 'ending' }, scope: 'principal', like: 'ending' },
  { ref: { service: 'vault', name: 'lease of account' }, scope: 'principal', like: 'leased' },
  { ref: { service: 'vault', name: 'lease of pod' }, scope: 'pod', like: 'leased' },
  { ref: { service: 'vault', name: 'issued', method: 'POST', body: '{}' }, scope: 'pod', like: 'moving' },
  { ref: { service: 'vault', name: 'kv' }, scope: 'pod', like: 'shareable' },
  { ref: { service: 'vault', name: 'fickle' }, scope: 'pod', like: 'fickle' },
  { ref: { service: 'csms', name: 'first' }, scope: 'principal', like: 'moving' },
];
export const fallbackKind = {
  ref: { service: 'csms', name: 'second' },
  scope: 'principal',
  like: 'moving',
} as const;

/** How the store behaves towards one question. */
export type Manners = {
  /** Milliseconds until the budget lets it go, and then until its answer. */
  readonly waits: number;
  readonly takes: number;
  /** Ends when its signal fires. */
  readonly heeds: boolean;
  /** Says `unchanged` where it can. */
  readonly confirms: boolean;
  /** What a fickle secret's answer is like. */
  readonly like: 'leased' | 'shareable' | 'moving';
};

/** One question, and what became of it. */
export type Question = Pick<Call, 'name' | 'principal' | 'pod' | 'urgency' | 'signal'> & {
  readonly id: number;
  readonly scope: Grant['scope'];
  readonly known: Call['known'];
  readonly begunAt: number;
  /** When the budget let it go. */
  askedAt: number;
  /** When its signal fired. */
  leftAt?: number;
  answer?: {
    readonly result: FetchResult;
    readonly at: number;
    readonly order: number;
    /** It came when its signal had fired. */
    readonly stray: boolean;
  };
};

/** A lease's renewal, as it was answered. */
export type Renewed = {
  readonly id: string;
  readonly askedAt: number;
  readonly order: number;
  readonly answer: Renewal;
};

/**
 * A store of secrets that can be denied, gone, changed, down or out of budget from one moment to the next. It keeps a ledger of all it was asked
 * and what it answered; the bytes of a value are the number of the question that it answered.
 */
export function createModelStore(now: () => number, manners: () => Manners) {
  const questions: Question[] = [];
  const renewals: Renewed[] = [];
  const ends = new Map<string, Set<number>>();
  /** What holds now: `denied p secret`, `gone secret`, `down secret`, `ended secret`, `budget spent`. */
  const facts = new Set<string>();
  const versions = new Map<string, number>();
  const taken = new Set<number>();
  let order = 0;

  /** Waits until a moment that is nobody else's, so that answers have an order; or until the signal fires. */
  const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      let due = now() + Math.max(1, ms);
      while (taken.has(due)) due += 1;
      taken.add(due);
      const timer = setTimeout(resolve, due - now());
      const leave = (): void => {
        clearTimeout(timer);
        resolve();
      };
      if (signal?.aborted) leave();
      signal?.addEventListener('abort', leave, { once: true });
    });

  const promise = (of: string, end: number): number => {
    ends.set(of, (ends.get(of) ?? new Set()).add(end));
    return end;
  };

  const valueOf = (question: Question, { like: fickle }: Manners): SecretValue => {
    const kind = [...kinds, fallbackKind].find(({ ref }) => ref.name === question.name)!;
    const like = kind.like === 'fickle' ? fickle : kind.like;
    const id = `${question.id}`;
    return {
      bytes: Buffer.from(id),
      version: `v${versions.get(question.name) ?? 0}`,
      ...(like === 'pinned' && { immutable: true }),
      ...(like === 'shareable' && { shareable: true }),
      ...(like === 'ending' && { expiresAt: promise(id, now() + 5 * minute) }),
      ...(like === 'leased' && {
        lease: { id, renewable: true, expiresAt: promise(id, now() + 10 * minute) },
      }),
    };
  };

  const decide = (question: Question, how: Manners): FetchResult => {
    const { name, principal, known } = question;
    if (facts.has(`down ${name}`)) return failed('STORE_UNAVAILABLE');
    if (facts.has(`denied ${principal} ${name}`)) return failed('ACCESS_DENIED');
    if (facts.has(`gone ${name}`)) return absent();
    if (how.confirms && known?.lease !== undefined) {
      return unchanged({ expiresAt: promise(known.lease.id, now() + 10 * minute) });
    }
    if (how.confirms && known?.version === `v${versions.get(name) ?? 0}`) return unchanged();
    return { kind: 'value', value: valueOf(question, how) };
  };

  const answer: Answer = async (call) => {
    const { name, principal, pod, urgency, signal, known } = call;
    const { scope } = call.grant;
    const id = questions.length;
    const question: Question = {
      id,
      name,
      principal,
      pod,
      scope,
      urgency,
      signal,
      known,
      begunAt: now(),
      askedAt: now(),
    };
    questions.push(question);
    signal.addEventListener('abort', () => void (question.leftAt = now()), { once: true });
    const how = manners();
    const heeded = how.heeds ? signal : undefined;
    const refused = facts.has('budget spent') && urgency === 'refresh';
    await pause(refused ? 2 * second : how.waits, heeded);
    if (!refused) {
      call.onStart();
      question.askedAt = now();
      await pause(how.takes, heeded);
    }
    if (heeded?.aborted) return { kind: 'failed', error: signal.reason as SecretError };
    const result = refused ? failed('RATE_BUDGET_EXHAUSTED') : decide(question, how);
    question.answer = { result, at: now(), order: (order += 1), stray: signal.aborted };
    return result;
  };

  const renew = async ({ id }: Lease): Promise<Renewal> => {
    const { name } = questions[Number(id)]!;
    const askedAt = now();
    await pause(second);
    const renewal: Renewal = facts.has(`down ${name}`)
      ? 'STORE_UNAVAILABLE'
      : facts.has(`ended ${name}`)
        ? { kind: 'ended' }
        : { kind: 'renewed', expiresAt: promise(id, now() + 10 * minute) };
    renewals.push({ id, askedAt, order: (order += 1), answer: renewal });
    return renewal;
  };

  return {
    answer,
    renew,
    questions,
    renewals,
    /** Every end that was ever promised for the value of a question. */
    ends,
    toggle(fact: string): void {
      if (!facts.delete(fact)) facts.add(fact);
    },
    write: (name: string): void => void versions.set(name, (versions.get(name) ?? 0) + 1),
  };
}

export type ModelStore = ReturnType<typeof createModelStore>;
