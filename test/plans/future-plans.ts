import type { FileRequest, FileSource, Plan, SecretRef, Selector } from '../../src/core/plan.ts';

/*
 * Plans of features that do not exist yet. They are only type-checked: they show that the types of
 * today can be extended without a change of what they contain. The extensions are examples, no
 * promise.
 */

const ref = (name: string): SecretRef => ({ service: 'local', name });
const [database, mail, payments] = [ref('db'), ref('mail'), ref('payments')];

/** A dotenv file of three secrets: several sources by name, and a template. */
type TemplatedFile = FileRequest & { readonly template?: string };

type TemplatedPlan = Omit<Plan, 'files'> & { readonly files: readonly TemplatedFile[] };

export const dotenv: TemplatedPlan = {
  refs: [database, mail, payments],
  files: [
    {
      path: '.env',
      sources: {
        db: { ref: database, selector: { kind: 'key', key: 'url' } },
        mail: { ref: mail, selector: { kind: 'jmespath', expression: 'smtp.password' } },
        payments: { ref: payments, selector: { kind: 'whole' } },
      },
      template: 'DATABASE_URL=${db}\nSMTP_PASSWORD=${mail}\nPAYMENTS_KEY=${payments}\n',
      encoding: 'utf-8',
    },
  ],
  login: undefined,
};

/** Every key of a JSON secret as its own file: a selector, and a pattern instead of the path. */
type FutureSelector = Selector | { readonly kind: 'every-key' };
type PatternFile = Omit<FileRequest, 'path' | 'sources'> & {
  readonly pathPattern: string;
  readonly sources: Readonly<
    Record<string, { readonly ref: SecretRef; readonly selector: FutureSelector }>
  >;
};
type FuturePlan = Omit<Plan, 'files'> & { readonly files: readonly (FileRequest | PatternFile)[] };

export const everyKey: FuturePlan = {
  refs: [database],
  files: [
    {
      pathPattern: 'db/{key}',
      sources: { value: { ref: database, selector: { kind: 'every-key' } } },
      encoding: 'utf-8',
      mode: 0o400,
    },
  ],
  login: undefined,
};

/**
 * `dso://path#field` of a second front door: a provider turns path and field into a source, and the
 * plan stays as it is today.
 */
export type RefFor = (path: string, field?: string) => FileSource;

const refFor: RefFor = (path, field) => ({
  ref: ref(path),
  selector: field === undefined ? { kind: 'whole' } : { kind: 'key', key: field },
});
const password = refFor('app/db', 'password');

export const byAddress: Plan = {
  refs: [password.ref],
  files: [{ path: 'password', sources: { value: password }, encoding: 'utf-8' }],
  login: undefined,
};

/** Plans of today fit the extended type, and today's code can check a plan with a template. */
export const futurePlans: readonly FuturePlan[] = [everyKey, byAddress, dotenv satisfies Plan];
