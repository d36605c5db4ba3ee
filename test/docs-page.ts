import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';

/** A class as a page shows it. */
export type DocumentedClass = {
  readonly spec: {
    readonly provider: string;
    readonly parameters: Record<string, string>;
    readonly secretObjects?: readonly {
      readonly data: readonly { readonly objectName: string }[];
    }[];
  };
};

/** A page of docs/, by its path from there, with what stands in its blocks. */
export function readPage(path: string) {
  const text = readFileSync(join(import.meta.dirname, '../docs', path), 'utf8');
  const blocks = (language: string): string[] =>
    [...text.matchAll(new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, 'gs'))].map(
      ([, block = '']) => block,
    );
  const documents = blocks('yaml').flatMap((block) =>
    parseAllDocuments(block).map((document) => document.toJS() as Record<string, unknown>),
  );
  const ofKind = <T>(kindName: string): T[] =>
    documents.filter(({ kind }) => kind === kindName) as T[];
  return {
    text,
    blocks,
    documents,
    ofKind,
    classes: () => ofKind<DocumentedClass>('SecretProviderClass'),
  };
}

/** The names of files that a class syncs into Secrets. */
export function syncedFileNames({ spec }: DocumentedClass): string[] {
  return (spec.secretObjects ?? []).flatMap(({ data }) => data.map(({ objectName }) => objectName));
}

/** The variables that are looked for where the environment has these values alone. */
export function variablesRead(
  read: (env: Readonly<Record<string, string | undefined>>) => unknown,
  values: Readonly<Record<string, string>> = {},
): string[] {
  const names = new Set<string>();
  read(
    new Proxy(values, {
      get(_, name) {
        names.add(String(name));
        return values[String(name)];
      },
    }),
  );
  return [...names];
}
