import type { Redacted } from '../../errors/redacted.ts';
import { quoteForeign } from '../../errors/status-text.ts';
import type { HttpAnswer } from '../../http/http.ts';
import type { VaultLogin } from './login.ts';

/** An answer that is no success, as far as it could be read. */
export type Fault = {
  readonly status: number;
  /** Errors and warnings, each on one line. Never to be shown as they are: see {@link describeFault}. */
  readonly errors: readonly string[];
  /** JSON as Vault writes it. The page of a proxy is not, whatever its status. */
  readonly isVaults: boolean;
};

/** What was asked, for messages. */
export type Question = {
  readonly login: VaultLogin;
  readonly method: string;
  /** Below `v1/`, as sent. */
  readonly path: string;
  /** Instead of the login's. */
  readonly namespace?: string;
  /** Must not be in any message. */
  readonly token?: Redacted;
};

/** Reads `{"errors": [...]}`, or the warnings of an answer that has data. */
export function readFault({ status, body }: Pick<HttpAnswer, 'status' | 'body'>): Fault {
  const fields = parse(body);
  const texts = [fields?.errors, fields?.warnings].flatMap((list) =>
    Array.isArray(list) ? (list as unknown[]) : [],
  );
  return {
    status,
    errors: texts.filter((text) => typeof text === 'string').map(tidy),
    isVaults: fields !== undefined && ('errors' in fields || 'data' in fields),
  };
}

/** `(HTTP 403: "permission denied")`. */
export function describeFault({ status, errors }: Fault, secrets: readonly string[]): string {
  const text = quoteForeign(errors.join('; '), secrets);
  return text === '' ? `(HTTP ${status})` : `(HTTP ${status}: "${text}")`;
}

/** Not even a place where something could be missing: an OpenBao's word, on a login or a read. */
export function hasNoNamespace({ status, errors }: Fault): boolean {
  return status === 404 && errors.includes('namespace not found');
}

/** The product, as the class calls it. */
export function productOf({ dialect }: Pick<VaultLogin, 'dialect'>): string {
  return dialect === 'openbao' ? 'OpenBao' : 'Vault';
}

/** Whose rights: `role app (auth/kubernetes, namespace team-a)`. */
export function whose({
  login,
  namespace = login.namespace ?? '',
}: Pick<Question, 'login' | 'namespace'>): string {
  const { method, mount, role } = login;
  const facts = [
    ...(method === 'token' ? [] : [`auth/${quoteForeign(mount)}`]),
    ...(namespace === '' ? [] : [`namespace ${quoteForeign(namespace)}`]),
  ];
  const subject =
    method === 'token'
      ? 'the given token'
      : role === undefined
        ? `the ${method} login`
        : `role ${quoteForeign(role)}`;
  return facts.length === 0 ? subject : `${subject} (${facts.join(', ')})`;
}

/** As a policy would name it: decoded, and without a query, which may hold anything. */
export function pathOf({ path }: Pick<Question, 'path'>): string {
  const [plain = ''] = path.split('?');
  try {
    return quoteForeign(decodeURIComponent(plain));
  } catch {
    return quoteForeign(plain);
  }
}

/** Vault lays lists out over several lines. Line by line, since one pattern for all would take hours for a megabyte of blanks. */
function tidy(text: string): string {
  const lines = text.split('\n').map((line) => line.trim().replace(/^\* /, ''));
  return lines.filter((line) => line !== '').join(' ');
}

function parse(body: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
