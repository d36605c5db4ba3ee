import { Command, Option } from 'commander';
import { providers } from '../../providers/registry.ts';
import { type Planner, checkClass } from './check-class.ts';
import { readClassFile } from './class-file.ts';
import type { Diagnostic } from './diagnostic.ts';
import { patchReason, reasonToLeaveOut } from './foreign-class.ts';
import { isListedAsPatch } from './kustomization.ts';
import { type LintFormat, type LintReport, formatLint, lintFormats } from './format.ts';
import { type Manifest, type ManifestSource, readManifests } from './manifests.ts';
import { type Output, createStyler } from '../../formats/terminal-style.ts';

/** What {@link lintCommand} needs of the process. */
export type LintDeps = {
  /** All providers. Only their `plan` is used, without node facts. */
  readonly providers: () => Promise<readonly Planner[]>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: ManifestSource['stdin'];
  /** For notices. */
  readonly stderr: { write(text: string): unknown };
  readonly stdout: Output;
  /** 0: no problems. 1: problems. 2: some input could not be read, or has no class. */
  readonly setExitCode: (code: 0 | 1 | 2) => void;
};

type Options = { readonly file?: readonly string[]; readonly format: LintFormat };

/** `keyferry lint`: checks SecretProviderClasses before they are applied to a cluster. */
export function lintCommand(deps: LintDeps): Command {
  const { providers, env, stdin, stdout, stderr, setExitCode } = deps;
  const notice = (line: string): void => void stderr.write(`keyferry: ${line}\n`);
  return new Command('lint')
    .description('check every SecretProviderClass in the files with the rules of a mount')
    .argument('[files...]', 'YAML or JSON files, directories, or - for standard input')
    .option('-f, --file <file...>', 'the same, as kubectl has it')
    .addOption(
      new Option('-o, --format <format>', 'the output format').choices(lintFormats).default('text'),
    )
    .addHelpText(
      'after',
      `
Exit codes: 0 no problems (hints may be shown), 1 problems, 2 some input could not be read or holds no class.

Examples:
  keyferry lint class.yaml
  helm template ./chart | keyferry lint -
  keyferry lint -o github manifests/`,
    )
    .action(async (args: string[], { file = [], format }: Options, command: Command) => {
      const names = [...args, ...file];
      if (names.length === 0) command.error("error: missing required argument 'files'");
      const report = await lint(await readManifests(names, { stdin, notice }), await providers());
      stdout.write(formatLint(report, format, createStyler(stdout, env)));
      if (report.hasUnreadableInput) setExitCode(2);
      else setExitCode(report.diagnostics.some(({ severity }) => severity === 'error') ? 1 : 0);
    });
}

/** Checks all classes in the manifests. `hasUnreadableInput` also if there is no class. */
async function lint(
  manifests: readonly Manifest[],
  planners: readonly Planner[],
): Promise<LintReport & { hasUnreadableInput: boolean }> {
  const diagnostics: Diagnostic[] = [];
  const skipped: LintReport['skipped'][number][] = [];
  const leftOut: LintReport['leftOut'][number][] = [];
  const providerNames = planners.map(({ name }) => name);
  let hasUnreadableInput = false;
  let classes = 0;
  for (const manifest of manifests) {
    if (!('text' in manifest)) {
      hasUnreadableInput = true;
      diagnostics.push(manifest);
      continue;
    }
    const file = readClassFile(manifest.file, manifest.text);
    hasUnreadableInput ||= file.parseErrors.length > 0;
    const fileDiagnostics = [...file.parseErrors];
    for (const spc of file.classes) {
      const { name, namespace, place } = spc;
      const isPatch = spc.provider === '' && (await isListedAsPatch(manifest.file));
      const reason = isPatch ? patchReason : reasonToLeaveOut(spc, providerNames);
      if (reason !== undefined) {
        leftOut.push({ ...place, class: name, namespace, reason });
        continue;
      }
      classes += 1;
      const check = checkClass(spc, planners);
      fileDiagnostics.push(...check.diagnostics);
      for (const phrase of check.skipped)
        skipped.push({ file: place.file, class: name, namespace, check: phrase });
    }
    diagnostics.push(...fileDiagnostics.sort(byLocation));
  }
  return {
    files: manifests.length,
    classes,
    diagnostics,
    skipped,
    leftOut,
    hasUnreadableInput: hasUnreadableInput || classes + leftOut.length === 0,
  };
}

function byLocation({ place: a }: Diagnostic, { place: b }: Diagnostic): number {
  return a.line - b.line || a.column - b.column;
}

/** Loads the `plan` function of every provider. */
export function loadPlanners(): Promise<readonly Planner[]> {
  return Promise.all(
    Object.entries(providers).map(async ([name, { plan }]) => ({ name, plan: await plan() })),
  );
}
