import { createHash, createHmac } from 'node:crypto';
import { type FailureKind, SecretError, toSecretError } from '../core/errors.ts';
import type { Encoding, FileRequest, FileSource, Plan, SecretRef, Selector } from '../core/plan.ts';
import type { Outcome, SecretValue } from '../core/provider.ts';
import { type Steps, runSteps } from '../core/steps.ts';
import { toOwnBuffer } from '../formats/own-buffer.ts';
import { type Extractor, type OpenSecret, createOpenSecret, nameSecret } from './extract.ts';
import { createExpressionTime } from './expression-time.ts';
import { noFilesError } from './plan-cache.ts';
import type { Volume } from './types.ts';

/**
 * Decodes a text stored in base64 or hex; `undefined` where it is not valid. White space is ignored
 * everywhere, because `base64` and PEM wrap lines. Otherwise it is strict: base64 in the standard
 * alphabet with its padding, and hex digits in pairs, in either case.
 */
export function decode(
  bytes: Uint8Array,
  encoding: Exclude<Encoding, 'utf-8'>,
): Uint8Array | undefined {
  const text = Buffer.from(bytes)
    .toString('latin1')
    .replace(/[ \t\r\n]+/g, '');
  const decoded = Buffer.from(text, encoding);
  // Node ignores characters that are not valid, so encode again and compare.
  return decoded.toString(encoding) === (encoding === 'hex' ? text.toLowerCase() : text)
    ? decoded
    : undefined;
}

/** A file's contents and its version. */
export type RenderedFile = { readonly contents: Uint8Array; readonly version: string };

type CachedFiles = { readonly files: WeakMap<FileRequest, RenderedFile>; size: number };

/**
 * Caches the files rendered from a secret, so that a cached mount parses and decodes nothing. A
 * whole secret as it is stored needs neither, and is not cached. An entry is collected with its
 * secret. The files cached for one secret take at most the secret's own size plus 1 KiB.
 */
class RenderedFileCache {
  readonly #byValue = new WeakMap<SecretValue, CachedFiles>();

  get(value: SecretValue, file: FileRequest): RenderedFile | undefined {
    return this.#byValue.get(value)?.files.get(file);
  }

  /** Adds a file if that saves work, and returns it with contents in memory of its own. */
  add(value: SecretValue, file: FileRequest, { contents, version }: RenderedFile): RenderedFile {
    const isWhole = contents === value.bytes;
    // It takes less to render than to remember: a WeakMap for each cached secret is 0.4 KiB, and
    // slows down the garbage collector.
    if (isWhole && version === value.version) return { contents, version };
    const size = isWhole ? 0 : contents.length;
    let cached = this.#byValue.get(value);
    if (cached === undefined || cached.size + size > value.bytes.length + 1_024)
      cached = { files: new WeakMap(), size: 0 };
    const rendered = { contents: isWhole ? contents : toOwnBuffer(contents), version };
    cached.files.set(file, rendered);
    cached.size += size;
    this.#byValue.set(value, cached);
    return rendered;
  }
}

/**
 * A file's version. It changes whenever the file's bytes change, and otherwise only with its
 * selector, encoding or explicit mode.
 *
 * - A whole secret in its stored encoding without an explicit mode has the store's version.
 * - Any other file has that version, `+`, and 8 hex digits of a hash over selector, encoding and
 *   mode. Where the store's version numbers can start again, the hash includes the time of the last
 *   modification, for whole secrets too.
 * - Where the store has no version, or one that does not cover the bytes (a Vault envelope), a
 *   keyed hash of the file's bytes takes its place. With a plain hash, a reader of the pod's status
 *   could guess short secrets.
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
    version === undefined || (envelope && mayBeWhole(selector))
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

/** Whether the contents can be the whole secret. */
function mayBeWhole({ kind }: Selector): boolean {
  return kind === 'whole' || kind === 'sole' || kind === 'key-or-whole';
}

function describe(selector: Selector): readonly [kind: string, text: string] {
  switch (selector.kind) {
    case 'whole':
    case 'sole':
      return [selector.kind, ''];
    case 'key':
    case 'key-or-whole':
      return [selector.kind, selector.key];
    case 'jmespath':
      return [selector.kind, selector.expression];
    case 'key-or-jmespath':
      return [selector.kind, selector.text];
  }
}

/**
 * Renders a volume from the outcomes of the reads. The result depends only on the arguments. All or
 * nothing: if anything failed, it throws the worst failure with the names of the others.
 * @param outcomes in the order of `plan.refs`
 * @param permission the mode of files without an explicit mode
 * @throws SecretError
 */
export type Render = (plan: Plan, outcomes: readonly Outcome[], permission: number) => Volume;

/**
 * The same in steps, of some 16 KiB of documents to look through. A mount whose files are cached or
 * small has one step.
 */
export type RenderSteps = (...args: Parameters<Render>) => Steps<Volume>;

/** What {@link createRender} needs. */
export type RenderOptions = {
  /** 32 bytes; see loadVersionKey. */
  readonly versionKey: Uint8Array;
  /** Bytes of all files together; default 4 MiB, the driver's own limit. */
  readonly maxBytes?: number;
  readonly openSecret?: OpenSecret;
};

/**
 * The only file of a volume whose secrets are all absent. The driver removes old files only if the
 * response has at least one file.
 */
const emptyFile = '.keyferry-empty';

/**
 * Failures that a person must fix come first: a denial by the store, then a mistake in the class.
 * An outage ends by itself.
 */
const worstFirst: readonly FailureKind[] = ['definite', 'request', 'internal', 'outage'];

/** @see Render */
export function createRender(options: RenderOptions): Render {
  const renderSteps = createRenderSteps(options);
  return (...args) => runSteps(renderSteps(...args));
}

/** How many bytes one step looks through. */
const stepBytes = 16_384;
/** From here on a step can take 20 ms. */
const largeStepBytes = 65_536;
/** What a file costs beside its document, in bytes. */
const fileBytes = 256;

/** @see RenderSteps */
export function createRenderSteps(options: RenderOptions): RenderSteps {
  const { versionKey, maxBytes = 4_194_304, openSecret = createOpenSecret() } = options;
  const renderedFiles = new RenderedFileCache();
  const byPlan = new WeakMap<Plan, readonly FilesOfRef[]>();

  /** Computed once per plan. */
  function filesOf(plan: Plan): readonly FilesOfRef[] {
    let files = byPlan.get(plan);
    if (files === undefined) byPlan.set(plan, (files = filesByRef(plan)));
    return files;
  }

  return function* (plan, outcomes, permission) {
    if (plan.files.length === 0) throw noFilesError();
    const rendered: (RenderedFile | undefined)[] = Array.from(plan.files, () => undefined);
    const failures: Failure[] = [];
    let bytes = 0;
    let stepCost = 0;
    const time = createExpressionTime();
    const byRef = filesOf(plan);
    for (const [refIndex, { ref, files }] of byRef.entries()) {
      const outcome = outcomeOf(ref, outcomes[refIndex]);
      if (outcome.kind !== 'value') {
        const isFailure =
          outcome.kind === 'failed' || files.some(({ file }) => file.optional !== true);
        if (isFailure) failures.push({ name: nameSecret(ref), error: outcome.error });
        continue;
      }
      const { value, served } = outcome;
      // One secret at a time: at most one parsed document is in memory. In most mounts every file
      // is cached and no document is parsed.
      let extract: Extractor | undefined;
      const documentBytes = value.document?.length ?? value.bytes.length;
      for (const { file, index } of files) {
        try {
          let result = renderedFiles.get(value, file);
          if (result === undefined) {
            const cost = fileBytes + (isWhole(file) ? 0 : documentBytes);
            if (stepCost + cost > stepBytes) {
              stepCost = 0;
              yield cost > largeStepBytes ? 'large' : 'normal';
            }
            stepCost += cost;
            extract ??= openSecret(served, value, time);
            result = renderedFiles.add(value, file, renderFile(file, value, served, extract));
          }
          rendered[index] = result;
          bytes += result.contents.length;
        } catch (thrown) {
          failures.push({ name: `the file ${file.path}`, error: toSecretError(thrown) });
          if (time.remainingMs <= 0) throw worst(failures);
        }
        if (bytes > maxBytes) throw tooLarge(plan, rendered, maxBytes);
      }
    }
    if (failures.length > 0) throw worst(failures);
    return toVolume(plan, rendered, permission);
  };

  function renderFile(
    file: FileRequest,
    value: SecretValue,
    ref: SecretRef,
    extract: Extractor,
  ): RenderedFile {
    const { selector } = onlySource(file);
    const contents = decodeFile(file, extract(selector), ref);
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
    `the content of ${nameSecret(ref)} for the file ${path} is not ${encoding}`,
    {
      hint: 'store it in that encoding, or remove `encoding`',
    },
  );
}

/** @param rendered in the order of the plan's files; undefined for absent secrets */
function toVolume(
  plan: Plan,
  rendered: readonly (RenderedFile | undefined)[],
  permission: number,
): Volume {
  const files: Volume['files'][number][] = [];
  const versions: Volume['versions'][number][] = [];
  plan.files.forEach(({ path, mode = permission }, index) => {
    const result = rendered[index];
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

/** A ref of a plan and its files, each with its index in the plan. */
type FilesOfRef = {
  readonly ref: SecretRef;
  readonly files: readonly { readonly file: FileRequest; readonly index: number }[];
};

/** In the order of the plan's refs. */
function filesByRef({ refs, files }: Plan): readonly FilesOfRef[] {
  const byRef = new Map(
    refs.map((ref) => [ref, { ref, files: [] as FilesOfRef['files'][number][] }]),
  );
  for (const [index, file] of files.entries()) {
    const entry = byRef.get(onlySource(file).ref);
    if (entry === undefined)
      throw new SecretError(
        'INTERNAL',
        `the file ${file.path} needs a secret that the plan does not read`,
      );
    entry.files.push({ file, index });
  }
  return [...byRef.values()];
}

function isWhole(file: FileRequest): boolean {
  return onlySource(file).selector.kind === 'whole';
}

function onlySource({ sources, path }: FileRequest): FileSource {
  const [source, ...others] = Object.values(sources);
  if (source !== undefined && others.length === 0) return source;
  throw new SecretError('INTERNAL', `the file ${path} must have exactly one source`);
}

/** Checks that the outcome belongs to the ref, so that no file gets another secret. */
function outcomeOf(ref: SecretRef, outcome: Outcome | undefined): Outcome {
  if (outcome?.ref === ref) return outcome;
  throw new SecretError('INTERNAL', `there is no outcome for ${nameSecret(ref)}`);
}

/** What failed, and what it is about: a secret, or a file of it. */
type Failure = { readonly name: string; readonly error: SecretError };

/**
 * The worst failure with the names of the others. Outages are not named: which secrets an outage
 * meets differs from mount to mount, and the text must repeat.
 */
function worst(failures: readonly Failure[]): SecretError {
  const rank = ({ error }: Failure): number => worstFirst.indexOf(error.kind);
  const first = failures.reduce((one, other) => (rank(other) < rank(one) ? other : one));
  const others = failures.filter((each) => each !== first && each.error.kind !== 'outage');
  if (others.length === 0) return first.error;
  return first.error.with({ cause: first.error, others: others.map(({ name }) => name) });
}

function tooLarge(
  { files }: Plan,
  rendered: readonly (RenderedFile | undefined)[],
  maxBytes: number,
): SecretError {
  const largest = files
    .map(({ path }, index) => ({ path, size: rendered[index]?.contents.length ?? 0 }))
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
