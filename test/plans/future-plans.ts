import type { FileRequest, FileSource, Plan, SecretRef, Selector } from '../../src/core/plan.ts';

/*
 * What issues to come will ask of the plan. Type-checked only: it holds that the vocabulary of today can be added to without
 * changing what is there. What is called Later is how these additions could look, and no promise.
 */

const ref = (name: string): SecretRef => ({ service: 'local', name });
const [database, mail, payments] = [ref('db'), ref('mail'), ref('payments')];

/** A dotenv made of three secrets: several sources by name, and a template. */
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

/** Every key of a JSON secret as a file of its own: a selector, and a pattern in place of the path. */
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

/** `dso://path#field`, as a second front door would have it: a provider turns path and field into a source, and the plan is today's. */
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

/** Plans of today are plans of then, and a templated one is still one that today's code can check. */
export const futurePlans: readonly FuturePlan[] = [everyKey, byAddress, dotenv satisfies Plan];
