import { createHash, createHmac } from 'node:crypto';
import { type FailureKind, SecretError, toSecretError } from '../core/errors.ts';
import type { Encoding, FileRequest, FileSource, Plan, SecretRef, Selector } from '../core/plan.ts';
import type { Outcome, SecretValue } from '../core/provider.ts';
import {
  type Select,
  type Take,
  createExpressionTime,
  createSelect,
  nameSecret,
} from './extract.ts';
import type { Volume } from './types.ts';

/**
 * What a text stored in base64 or hex stands for; `undefined` where it is neither. White space is left out wherever it stands, as `base64` and
 * PEM wrap lines; otherwise strict: base64 in the standard alphabet with its padding, hex digits in pairs, in either case.
 */
export function decode(
  bytes: Uint8Array,
  encoding: Exclude<Encoding, 'utf-8'>,
): Uint8Array | undefined {
  const text = Buffer.from(bytes)
    .toString('latin1')
    .replace(/[ \t\r\n]+/g, '');
  const decoded = Buffer.from(text, encoding);
  // Node stops at, or skips, what it cannot read.
  return decoded.toString(encoding) === (encoding === 'hex' ? text.toLowerCase() : text)
    ? decoded
    : undefined;
}

/** What a file holds, and its version. */
export type Rendered = { readonly contents: Uint8Array; readonly version: string };

type Kept = { files: WeakMap<FileRequest, Rendered>; size: number };

/**
 * Remembers what was taken out of a secret for a file, so that a cached mount parses and decodes nothing. It is forgotten with the secret; beside
 * each secret at most as many bytes are kept as it has itself, and a kilobyte.
 */
export function createKeptFiles(): {
  get(value: SecretValue, file: FileRequest): Rendered | undefined;
  keep(value: SecretValue, file: FileRequest, made: Rendered): void;
} {
  const byValue = new WeakMap<SecretValue, Kept>();
  return {
    get: (value, file) => byValue.get(value)?.files.get(file),
    keep(value, file, made) {
      let kept = byValue.get(value);
      const size = made.contents === value.bytes ? 0 : made.contents.length;
      if (kept === undefined || kept.size + size > value.bytes.length + 1_024)
        kept = { files: new WeakMap(), size: 0 };
      kept.files.set(file, made);
      kept.size += size;
      byValue.set(value, kept);
    },
  };
}

/**
 * A file's version: it changes whenever the file's bytes do, and otherwise only with its selector, encoding or explicit mode.
 *
 * - A whole secret as it is stored, without a mode of its own: the store's version, bare.
 * - Any other file: that, `+` and 8 hex digits of a hash over selector, encoding and mode. Where the store's numbers can start again, their time
 *   of modification joins the hash, for whole files too.
 * - In place of a version the store has not, or that says too little (a Vault envelope): a keyed hash of the file's bytes. A plain one would let a reader
 *   of the pod's status guess short secrets.
 */
export function objectVersion(
  { encoding, mode }: FileRequest,
  selector: Selector,
  { version, envelope, modified }: SecretValue,
  contents: Uint8Array,
  versionKey: Uint8Array,
): string {
  const isWhole = selector.kind === 'whole';
  const base =
    version === undefined || (envelope && isWhole)
      ? createHmac('sha256', versionKey).update(contents).digest('hex').slice(0, 32)
      : version;
  if (isWhole && encoding === 'utf-8' && mode === undefined && modified === undefined) return base;
  const selection = JSON.stringify([
    ...describe(selector),
    encoding,
    mode ?? null,
    modified ?? null,
  ]);
  return `${base}+${createHash('sha256').update(selection).digest('hex').slice(0, 8)}`;
}

function describe(selector: Selector): readonly [kind: string, text: string] {
  switch (selector.kind) {
    case 'whole':
      return [selector.kind, ''];
    case 'key':
      return [selector.kind, selector.key];
    case 'jmespath':
      return [selector.kind, selector.expression];
    case 'key-or-jmespath':
      return [selector.kind, selector.text];
  }
}

/**
 * Makes a volume of what was read. `outcomes` in the order of `plan.refs`; `permission` is the mode of files without one of their own. The answer
 * depends on nothing else. All or nothing: where anything failed, the worst failure is thrown, with the count of the others.
 * @throws SecretError
 */
export type Render = (plan: Plan, outcomes: readonly Outcome[], permission: number) => Volume;

/** What {@link createRender} needs. */
export type RenderOptions = {
  /** 32 bytes; see loadVersionKey. */
  readonly versionKey: Uint8Array;
  /** Bytes of all files together; default 4 MiB, the driver's own limit. */
  readonly maxBytes?: number;
  readonly select?: Select;
};

/** Stands for a volume all of whose secrets are absent: the driver removes old files only when it gets at least one. */
const emptyFile = '.keyferry-empty';

/** Who can mend it comes first: what the store refused, then what the class asks; an outage ends by itself. */
const worstFirst: readonly FailureKind[] = ['definite', 'request', 'internal', 'outage'];

export function createRender(options: RenderOptions): Render {
  const { versionKey, maxBytes = 4_194_304, select = createSelect() } = options;
  const kept = createKeptFiles();
  const byPlan = new WeakMap<Plan, readonly FilesOfRef[]>();

  /** Worked out once a plan. */
  function filesOf(plan: Plan): readonly FilesOfRef[] {
    let files = byPlan.get(plan);
    if (files === undefined) byPlan.set(plan, (files = filesByRef(plan)));
    return files;
  }

  return (plan, outcomes, permission) => {
    if (plan.files.length === 0)
      throw new SecretError('INVALID_CLASS', 'the class asks for no file', {
        hint: 'list at least one object',
      });
    const rendered: (Rendered | undefined)[] = Array.from(plan.files, () => undefined);
    const failures: SecretError[] = [];
    let bytes = 0;
    const time = createExpressionTime();
    const byRef = filesOf(plan);
    for (const [index, { ref, files }] of byRef.entries()) {
      const outcome = outcomeOf(ref, outcomes[index]);
      if (outcome.kind !== 'value') {
        const isMissed =
          outcome.kind === 'failed' || files.some(({ file }) => file.optional !== true);
        if (isMissed) failures.push(outcome.error);
        continue;
      }
      const { value, served } = outcome;
      // One secret at a time, so that one parsed document at most is in memory; none where everything is kept, as in most mounts.
      let take: Take | undefined;
      for (const { file, place } of files) {
        try {
          let result = kept.get(value, file);
          if (result === undefined) {
            take ??= select(served, value, time);
            result = renderFile(file, value, served, take);
            kept.keep(value, file, result);
          }
          rendered[place] = result;
          bytes += result.contents.length;
        } catch (thrown) {
          failures.push(toSecretError(thrown));
          if (time.leftMs <= 0) throw worst(failures);
        }
        if (bytes > maxBytes) throw tooLarge(plan, rendered, maxBytes);
      }
    }
    if (failures.length > 0) throw worst(failures);
    return toVolume(plan, rendered, permission);
  };

  function renderFile(file: FileRequest, value: SecretValue, ref: SecretRef, take: Take): Rendered {
    const { selector } = onlySource(file);
    const contents = decodeFile(file, take(selector), ref);
    return { contents, version: objectVersion(file, selector, value, contents, versionKey) };
  }
}

function decodeFile(
  { encoding, path }: FileRequest,
  stored: Uint8Array,
  ref: SecretRef,
): Uint8Array {
  if (encoding === 'utf-8') return stored;
  const decoded = decode(stored, encoding);
  if (decoded !== undefined) return decoded;
  throw new SecretError(
    'INVALID_ENCODING',
    `what ${nameSecret(ref)} has for the file ${path} is not ${encoding}`,
    {
      hint: 'store it in that encoding, or leave `encoding` out',
    },
  );
}

/** @param rendered in the order of the plan's files; what is absent is left out */
function toVolume(
  plan: Plan,
  rendered: readonly (Rendered | undefined)[],
  permission: number,
): Volume {
  const files: Volume['files'][number][] = [];
  const versions: Volume['versions'][number][] = [];
  plan.files.forEach(({ path, mode = permission }, place) => {
    const result = rendered[place];
    if (result === undefined) return;
    files.push({ path, mode, contents: result.contents });
    versions.push({ id: path, version: result.version });
  });
  if (files.length > 0) return { files, versions };
  return {
    files: [{ path: emptyFile, mode: permission, contents: new Uint8Array(0) }],
    versions: [{ id: emptyFile, version: 'absent' }],
  };
}

/** A ref of a plan, the files made of it, and where in the plan each stands. */
type FilesOfRef = {
  readonly ref: SecretRef;
  readonly files: readonly { readonly file: FileRequest; readonly place: number }[];
};

/** In the order of the plan's refs. */
function filesByRef({ refs, files }: Plan): readonly FilesOfRef[] {
  const byRef = new Map(
    refs.map((ref) => [ref, { ref, files: [] as FilesOfRef['files'][number][] }]),
  );
  for (const [place, file] of files.entries()) {
    const made = byRef.get(onlySource(file).ref);
    if (made === undefined)
      throw new SecretError('INTERNAL', `the file ${file.path} is made of no secret of the plan`);
    made.files.push({ file, place });
  }
  return [...byRef.values()];
}

function onlySource({ sources, path }: FileRequest): FileSource {
  const [source, ...others] = Object.values(sources);
  if (source !== undefined && others.length === 0) return source;
  throw new SecretError('INTERNAL', `the file ${path} is not made of exactly one secret`);
}

/** The outcomes stand in the order of the refs; a file never gets another secret's. */
function outcomeOf(ref: SecretRef, outcome: Outcome | undefined): Outcome {
  if (outcome?.ref === ref) return outcome;
  throw new SecretError('INTERNAL', `nothing was read for ${nameSecret(ref)}`);
}

function worst(failures: readonly SecretError[]): SecretError {
  const rank = ({ kind }: SecretError): number => worstFirst.indexOf(kind);
  const first = failures.reduce((one, other) => (rank(other) < rank(one) ? other : one));
  const more = first.more + failures.length - 1;
  if (more === 0) return first;
  const hint = first.hint === undefined ? {} : { hint: first.hint };
  return new SecretError(first.code, first.message, { ...hint, cause: first, more });
}

function tooLarge(
  { files }: Plan,
  rendered: readonly (Rendered | undefined)[],
  maxBytes: number,
): SecretError {
  const largest = files
    .map(({ path }, place) => ({ path, size: rendered[place]?.contents.length ?? 0 }))
    .sort((a, b) => b.size - a.size)
    .slice(0, 3)
    .map(({ path, size }) => `${path} (${size} bytes)`);
  return new SecretError(
    'RESPONSE_TOO_LARGE',
    `the files are larger than ${maxBytes} bytes; largest: ${largest.join(', ')}`,
    {
      hint: 'split the class into several volumes',
    },
  );
}
