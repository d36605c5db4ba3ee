import { type Output, createStyler } from '../../formats/terminal-style.ts';

/** Prints the demo: numbered steps, commands as a user types them, and their output. */
export type Narrator = {
  print(...lines: string[]): void;
  step(title: string): void;
  /** @param input its standard input */
  command(args: readonly string[], input?: string): void;
  /** A command of another program. */
  shellCommand(text: string): void;
  show(...texts: string[]): void;
};

/** Creates the narrator of one demo. */
export function createNarrator(
  stdout: Output,
  env: Readonly<Record<string, string | undefined>>,
): Narrator {
  const style = createStyler(stdout, env);
  const print = (...lines: string[]): void =>
    void stdout.write(lines.map((line) => `${line}\n`).join(''));
  const shellCommand = (text: string): void => print(`   ${style('dim', `$ ${text}`)}`);
  let steps = 0;
  return {
    print,
    step(title) {
      steps += 1;
      print('', style('bold', `${steps}. ${title}`));
    },
    command(args, input) {
      const stdinPrefix = input === undefined ? '' : `printf %s '${input}' | `;
      shellCommand(`${stdinPrefix}keyferry ${args.join(' ')}`);
    },
    shellCommand,
    show(...texts) {
      for (const text of texts)
        print(
          ...text
            .trimEnd()
            .split('\n')
            .map((line) => `     ${line}`.trimEnd()),
        );
    },
  };
}

/**
 * The grants file. Without a grant no workload can use a shared identity, such as that of the
 * embedded store.
 */
export const grants = `grants:
  - provider: local
    namespaces: [shop]
    serviceAccounts: [web]
    names: ["local/shop/*"]
`;

/**
 * Two secrets and three files: a whole secret, a key of a JSON secret, and a file that only root
 * can read.
 */
export const secretProviderClass = `apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: web, namespace: shop}
spec:
  provider: local
  parameters:
    objects: |
      - objectName: shop/db
        objectAlias: db.json
        jmesPath:
          - path: password
            objectAlias: db/password
      - objectName: shop/api-key
        objectAlias: api-key
        filePermission: "0400"
`;

/** The same class with two mistakes. */
export const invalidClass = secretProviderClass
  .replace('objectAlias: api-key', 'objectAlais: api-key')
  .replace('"0400"', '"400 "');
