import type { SecretError } from '../../src/core/errors.ts';
import type { Grant, Outcome, SecretValue } from '../../src/core/provider.ts';
import type { ModelStore, Question } from './model-store.ts';
import type { Call, LeaseCall } from './scripted-provider.ts';
import { hour, minute, second } from './store-rig.ts';

type Value = Extract<Outcome, { kind: 'value' }>;
/** A reader: since when it waits, and how long at most. */
type Read = { readonly grant: Grant; readonly since: number; readonly patience: number };

/**
 * Holds what the secret store does against the ledger of the model store: who was answered what, and when. It knows the contract, and
 * nothing of how the store keeps it. Every method throws where the contract is broken.
 */
export function createStoreJudge(deps: {
  readonly model: ModelStore;
  readonly now: () => number;
  readonly refreshInterval: number;
  readonly maxStale: number;
  readonly releases: readonly LeaseCall[];
}) {
  const { model, now, refreshInterval, maxStale, releases } = deps;
  const served = new Set<string>();
  const servedKey = ({ workload, principal, ref }: Grant): string =>
    `${workload.instance} ${principal.description} ${ref.name}`;

  const concerning = (grant: Grant): Question[] =>
    model.questions.filter(
      ({ name, principal }) => name === grant.ref.name && principal === grant.principal.description,
    );
  const mine = (question: Question, grant: Grant): boolean =>
    grant.scope === 'principal' || question.pod === grant.workload.instance;
  /** Where an answer comes in the very moment in which the last reader leaves, both may be right. */
  const mayHaveLanded = ({ answer }: Question): boolean => answer !== undefined && !answer.stray;
  const landed = (question: Question): boolean =>
    mayHaveLanded(question) && question.leftAt !== question.answer!.at;

  /** Answers that came after another one, in as far as they touch its value. */
  const since = (from: Question, value: SecretValue, grant: Grant): Question[] =>
    concerning(grant).filter(
      (question) =>
        question.answer !== undefined &&
        question.answer.order > from.answer!.order &&
        (isShared(value) || mine(question, grant)),
    );
  const deniedSince = (from: Question, value: SecretValue, grant: Grant): boolean =>
    since(from, value, grant).some(saysNo);

  /** When a value was last delivered, or its lease prolonged; and when the store was last asked for it. */
  const history = (from: Question, value: SecretValue, grant: Grant, counts = mayHaveLanded) => {
    const confirmations = since(from, value, grant).filter(
      (question) => question.answer!.result.kind === 'unchanged' && counts(question),
    );
    const renewals = model.renewals.filter(
      ({ id, answer }) => id === value.lease?.id && kindOf(answer) === 'renewed',
    );
    const prolonged = value.lease === undefined ? [] : [...confirmations, ...renewals];
    const delivered = Math.max(from.askedAt, ...prolonged.map(({ askedAt }) => askedAt));
    const asked = Math.max(delivered, ...confirmations.map(({ askedAt }) => askedAt));
    const justNow = from.answer!.at === now() || confirmations.some(({ answer }) => answer!.at === now());
    return { delivered, asked, justNow };
  };

  const dueAt = (value: SecretValue, grant: Grant, asked: number): number => {
    const end = endOf(value);
    if (end !== Infinity) return asked + ((end - asked) * 2) / 3;
    if (value.immutable === true) return Infinity;
    return asked + (grant.ref.method === 'POST' ? hour : refreshInterval);
  };

  /** A reader that turns elsewhere in the very moment of an answer may not have heard it. */
  const mayTurnNow = ({ grant, since, patience }: Read): boolean =>
    grant.fallbacks.length > 0 || Math.abs(now() - since - patience / 2) < 1;

  /** Whether nobody answered a grant's question within half of a reader's time: it may have turned elsewhere. */
  const unanswered = ({ grant, since, patience }: Read, byBudget: boolean): boolean =>
    concerning(grant).some((question) => {
      const { answer, leftAt } = question;
      if (answer === undefined || leftAt !== undefined) return leftAt === undefined || leftAt >= since;
      if (answer.at >= since + Math.floor(patience / 2)) return true;
      return (
        answer.at >= since &&
        answer.result.kind === 'failed' &&
        answer.result.error.kind === 'outage' &&
        (byBudget || answer.result.error.code !== 'RATE_BUDGET_EXHAUSTED')
      );
    });

  const checkValue = (read: Read, { value, served: ref }: Value): void => {
    const by = [read.grant, ...read.grant.fallbacks].find((grant) => grant.ref === ref)!;
    const from = model.questions[Number(Buffer.from(value.bytes).toString())]!;
    const before = served.has(servedKey(by));
    must(concerning(by).includes(from), 'it was never delivered for this ref to this principal');
    must(mayHaveLanded(from), 'it came when nobody waited any more');
    must(from.answer!.at - from.askedAt <= 30 * second, 'it came when its question had had its 30 s');
    must(mine(from, by) || isShared(value), "it is another pod's");
    const later = since(from, value, by).filter(({ answer }) => answer!.at < now() || !mayTurnNow(read));
    must(!later.some(saysNo), 'it was denied, or gone, since');
    for (const end of [value.expiresAt, value.lease?.expiresAt]) {
      must(end === undefined || model.ends.get(`${from.id}`)!.has(end), 'the store never promised that end');
    }
    must(now() < endOf(value), 'it has ended');
    const lease = value.lease?.id;
    must(!releases.some((release) => release.lease === lease), 'its lease was given back');
    must(
      !model.renewals.some(({ id, answer }) => id === lease && kindOf(answer) === 'ended'),
      'its lease has ended',
    );
    // A fickle secret moves between places of its own and a shared one; the last answer for each of them may serve.
    const newer = later.some((question) => landed(question) && question.answer!.result.kind === 'value');
    must(!newer || ref.name === 'fickle', 'it is not the last that was delivered');

    const { delivered, asked, justNow } = history(from, value, by);
    const authorized = before || now() - delivered <= 15 * minute;
    const fresh = from.answer!.at === now() || (authorized && (justNow || now() < dueAt(value, by, asked)));
    const bridged =
      by === read.grant && maxStale > 0 && now() - delivered <= maxStale && unanswered(read, authorized);
    must(
      fresh || bridged,
      `it is too old: delivered ${now() - delivered} ms ago, asked ${now() - asked} ms ago`,
    );
    must(by === read.grant || unanswered(read, true), 'a fallback served although the primary was there');
    served.add(servedKey(by));
  };

  const checkAbsent = ({ grant }: Read): void => {
    const told = concerning(grant).filter(
      (question) => mayHaveLanded(question) && question.answer!.result.kind === 'absent',
    );
    const known = served.has(servedKey(grant));
    must(
      told.some(
        ({ answer, askedAt }) => answer!.at === now() || (known && now() < askedAt + refreshInterval),
      ),
      'the store did not say that it is absent',
    );
    served.add(servedKey(grant));
  };

  const checkFailure = (read: Read, error: SecretError): void => {
    const { grant } = read;
    if (error.kind === 'definite') {
      const told = concerning(grant).some((question) => saysNo(question) && question.answer!.at === now());
      return must(told, 'the store did not deny it');
    }
    must(error.kind === 'outage', `it failed with ${error.code}: ${error.message}`);
    must(unanswered(read, true), 'it was answered');
    const last = concerning(grant)
      .filter((question) => landed(question) && question.answer!.result.kind === 'value')
      .filter((question) => isShared(valueOf(question)) || mine(question, grant))
      .sort((a, b) => a.answer!.order - b.answer!.order)
      .at(-1);
    if (last === undefined || maxStale === 0 || grant.ref.name === 'fickle') return;
    const value = valueOf(last);
    if (value.lease !== undefined || now() >= endOf(value) || deniedSince(last, value, grant)) return;
    must(now() - last.askedAt > maxStale, 'the last good value should have served');
  };

  /** Of watched pods: a lease of one that is there is never given back; one of a pod that is gone is, if it is its last and lives. */
  const checkLeases = (gone: ReadonlySet<string>, given: readonly string[]): void => {
    const leasedTo = model.questions.filter(
      (question) => landed(question) && question.scope === 'pod' && question.answer!.result.kind === 'value',
    );
    for (const question of leasedTo) {
      const { lease } = valueOf(question);
      if (lease === undefined) continue;
      const isGiven = given.includes(lease.id);
      must(gone.has(question.pod) || !isGiven, 'a lease was given back, and its pod is there');
      const later = model.questions.some(
        ({ name, principal, answer }) =>
          name === question.name &&
          principal === question.principal &&
          answer !== undefined &&
          answer.order > question.answer!.order,
      );
      const renewals = model.renewals.filter(({ id }) => id === lease.id);
      const hasEnded =
        renewals.some(({ answer }) => kindOf(answer) === 'ended') ||
        now() >= Math.max(...model.ends.get(lease.id)!);
      must(
        isGiven || later || hasEnded || !gone.has(question.pod),
        'a lease was not given back, and its pod is gone',
      );
    }
  };

  return {
    /** A question is about to be put. */
    asks({ grant }: Call): void {
      if (grant.scope === 'pod') return;
      const before = concerning(grant);
      must(
        !before.some(({ answer, leftAt }) => answer === undefined && leftAt === undefined),
        'it is being asked already',
      );
      const last = before
        .filter((question) => landed(question) && question.answer!.result.kind === 'value')
        .sort((a, b) => a.answer!.order - b.answer!.order)
        .at(-1);
      if (last === undefined || now() - last.askedAt > hour) return;
      const value = valueOf(last);
      if (value.lease !== undefined || deniedSince(last, value, grant)) return;
      const { delivered, asked } = history(last, value, grant, landed);
      const enough = served.has(servedKey(grant)) || now() - delivered <= 15 * minute;
      const fresh = now() < asked + (dueAt(value, grant, asked) - asked) * 0.9;
      must(!(enough && fresh), 'it is asked although what is cached is fresh enough');
    },
    answered(read: Read, outcome: Outcome): void {
      must(now() <= read.since + read.patience, 'its reader had left');
      if (outcome.kind === 'value') checkValue(read, outcome);
      else if (outcome.kind === 'absent') checkAbsent(read);
      else checkFailure(read, outcome.error);
    },
    /** When all is over, and the clock has ticked. `gone`: the pods that have ended, where they are watched. */
    end(gone?: ReadonlySet<string>): void {
      const given = releases.map(({ lease }) => lease);
      must(new Set(given).size === given.length, 'a lease was given back twice');
      if (gone !== undefined) checkLeases(gone, given);
      for (const { answer } of model.questions) {
        const lease = answer?.result.kind === 'value' ? answer.result.value.lease : undefined;
        must(!lease || !answer?.stray || given.includes(lease.id), 'a stray lease was not given back');
      }
    },
  };
}

function valueOf({ answer }: Question): SecretValue {
  return (answer!.result as { value: SecretValue }).value;
}

function saysNo({ answer }: Question): boolean {
  return (
    answer?.result.kind === 'absent' ||
    (answer?.result.kind === 'failed' && answer.result.error.kind === 'definite')
  );
}

function kindOf(renewal: string | { readonly kind: string }): string {
  return typeof renewal === 'string' ? renewal : renewal.kind;
}

function isShared({ shareable, lease }: SecretValue): boolean {
  return shareable === true && lease === undefined;
}

function endOf({ expiresAt, lease }: SecretValue): number {
  return Math.min(expiresAt ?? Infinity, lease?.expiresAt ?? Infinity);
}

function must(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(`contract broken: ${otherwise}`);
}
