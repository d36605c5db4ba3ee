import { describe, expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';

/** Paths of all pages from the root. */
const pages = ['docs', 'deploy', 'test']
  .flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
  )
  .filter((name) => name.endsWith('.md') && !/(^|\/)(\.venv|node_modules)\//.test(name))
  .concat('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md');
const read = (page: string): string => readFileSync(page, 'utf8');

const prose = (page: string): string => read(page).replace(/^```.*?^```$/gms, '');

/** The anchors of a page's headings. */
function anchorsOf(page: string): readonly string[] {
  return [...prose(page).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** The text between backticks. */
function inlineCodeOf(text: string): readonly string[] {
  return [...text.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code);
}

/** The rows of each table of a page, as cells; the first row is the heading. */
function tablesOf(page: string): readonly (readonly (readonly string[])[])[] {
  return [...prose(page).matchAll(/(^\|.*\n)+/gm)].map(([table]) =>
    table
      .trim()
      .split('\n')
      .filter((line) => !/^\|(-+\|)+$/.test(line))
      .map((line) =>
        line
          .slice(1, -1)
          .split('|')
          .map((cell) => cell.trim()),
      ),
  );
}

/** The base names of all source files. */
const sourceNames = new Set(
  ['src', 'test', 'scripts'].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => !/(^|\/)(\.venv|node_modules)\//.test(name))
      .map((name) => basename(name)),
  ),
);

/**
 * The commands of a page: lines of shell blocks, with continued lines joined, and text between
 * backticks.
 */
function commandsOf(page: string): readonly string[] {
  const blocks = [...read(page).matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text = '']) => text);
  const lines = blocks.flatMap((text) => text.replace(/\\\n/g, ' ').split('\n'));
  return [...lines, ...inlineCodeOf(prose(page))].map((command) =>
    command.replace(/ +#.*$/, '').trim(),
  );
}

describe.each(pages)('%s', (page) => {
  test('links to pages and headings that exist', () => {
    const links = [...prose(page).matchAll(/\]\((?!https?:)([^)#]*)#?([^)]*)\)/g)];
    const broken = links.filter(([, path = '', anchor = '']) => {
      const target = path === '' ? page : join(dirname(page), path);
      return !existsSync(target) || (anchor !== '' && !anchorsOf(target).includes(anchor));
    });
    expect(broken.map(([link]) => link)).toEqual([]);
  });

  test('names files of the repository that exist', () => {
    const paths = inlineCodeOf(prose(page)).filter((text) =>
      /^(src|test|docs|charts|deploy|scripts|proto)\/[\w./-]+$/.test(text),
    );
    const placeholder = /\bNAME\b/;
    expect(paths.filter((path) => !placeholder.test(path) && !existsSync(path))).toEqual([]);
  });

  test('names source files without their folder that exist', () => {
    const names = inlineCodeOf(prose(page)).filter((text) => /^[\w.-]+\.(ts|mjs)$/.test(text));
    expect(names.filter((name) => !sourceNames.has(name))).toEqual([]);
  });

  test('gives commands that work at the root of a checkout', () => {
    const commands = commandsOf(page);
    const paths = commands.flatMap(
      (command) => command.match(/(?<=^|[ =])(charts|deploy)\/[\w./-]+/g) ?? [],
    );
    expect(paths.filter((path) => !existsSync(path))).toEqual([]);
    expect(commands.filter((command) => /^cd |&& cd /.test(command))).toEqual([]);
  });

  test('names the namespace of every Helm release', () => {
    const releases = commandsOf(page).filter((command) =>
      /^helm (install|upgrade|rollback|uninstall) \S/.test(command),
    );
    expect(releases.filter((command) => !/ (-n|--namespace) \S/.test(command))).toEqual([]);
  });

  test('reads the logs of all pods, not of one that kubectl picks', () => {
    expect(
      commandsOf(page).filter((command) => /^kubectl .*\blogs (daemonset|ds)\//.test(command)),
    ).toEqual([]);
  });
});

describe('CONTRIBUTING.md', () => {
  const tables = tablesOf('CONTRIBUTING.md');
  const tableWith = (cell: string) => tables.find(([heading = []]) => heading.includes(cell)) ?? [];

  const vendors = readdirSync('src/providers', { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== 'shared')
    .map(({ name }) => name);
  test.each(vendors)('lists the files and folders of provider %s', (vendor) => {
    const [heading = [], ...rows] = tableWith('`cce`');
    const column = heading.indexOf(`\`${vendor}\``);
    const listed = rows.flatMap((row) => inlineCodeOf(row[column] ?? ''));
    const existing = readdirSync(join('src/providers', vendor), { withFileTypes: true })
      .filter(({ name }) => !name.endsWith('.test.ts'))
      .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name));
    expect([...listed].sort()).toEqual(existing.sort());
  });

  const ruleSuffix = '-imports-only-what-it-may';
  const { forbidden } = createRequire(import.meta.url)('../.dependency-cruiser.cjs') as {
    readonly forbidden: readonly { readonly name: string; readonly to: { pathNot?: string } }[];
  };
  const rules = forbidden
    .filter(({ name }) => name.endsWith(ruleSuffix))
    .map(({ name, to }) => ({
      folder: name.slice(0, -ruleSuffix.length),
      allowedPaths: /\((.*)\)/.exec(to.pathNot ?? '')?.[1]?.split('|') ?? [],
    }));
  test.each(rules)('says what src/$folder/ may import', ({ folder, allowedPaths }) => {
    const row = tableWith('what it may import').find(([cell]) => cell === `\`src/${folder}/\``);
    const text = row?.[2] ?? '';
    const listed = inlineCodeOf(text);
    const named = text.startsWith('everything but')
      ? rules.map((rule) => rule.folder).filter((name) => !listed.includes(name))
      : [folder, ...listed];
    expect([...new Set(named)].sort()).toEqual([...new Set(allowedPaths)].sort());
  });
});
