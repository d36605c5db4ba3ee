import type { FailureKind } from '../errors/codes.ts';
import { SecretError, toSecretError } from '../errors/secret-error.ts';
import type { FileRequest, FileSource, Plan, SecretRef } from '../plan/plan.ts';
import type { Outcome, SecretValue } from '../providers/provider.ts';
import { decode } from './encoding.ts';
import { createKeptFiles, type Rendered } from './kept-files.ts';
import { objectVersion } from './object-version.ts';
import { createExpressionTime, createSelect, nameSecret, type Select, type Take } from './select.ts';
import type { Volume } from './volume.ts';

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
        const isMissed = outcome.kind === 'failed' || files.some(({ file }) => file.optional !== true);
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

function decodeFile({ encoding, path }: FileRequest, stored: Uint8Array, ref: SecretRef): Uint8Array {
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
function toVolume(plan: Plan, rendered: readonly (Rendered | undefined)[], permission: number): Volume {
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
  const byRef = new Map(refs.map((ref) => [ref, { ref, files: [] as FilesOfRef['files'][number][] }]));
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
