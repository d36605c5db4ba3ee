import { describe, expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

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

/**
 * The commands of a page: lines of shell blocks, with continued lines joined, and text between
 * backticks.
 */
function commandsOf(page: string): readonly string[] {
  const blocks = [...read(page).matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text = '']) => text);
  const lines = blocks.flatMap((text) => text.replace(/\\\n/g, ' ').split('\n'));
  const inline = [...prose(page).matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text);
  return [...lines, ...inline].map((command) => command.replace(/ +#.*$/, '').trim());
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
    const inline = [...prose(page).matchAll(/`([^`\n]+)`/g)].map(([, text = '']) => text);
    const paths = inline.filter((text) =>
      /^(src|test|docs|charts|deploy|scripts|proto)\/[\w./-]+$/.test(text),
    );
    const placeholder = /\bNAME\b/;
    expect(paths.filter((path) => !placeholder.test(path) && !existsSync(path))).toEqual([]);
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
