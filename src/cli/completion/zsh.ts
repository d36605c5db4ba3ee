import { type CommandNode, type Flag, type Offer, allNodes } from './tree.ts';

/** The completion of zsh: one function for each command, with the flags and their descriptions. */
export function zshScript(root: CommandNode): string {
  return `#compdef ${root.name}
# For ~/.zshrc, after compinit: source <(${root.name} completion zsh)
${allNodes(root).map(functionOf).join('\n')}
if [[ $funcstack[1] == _${root.name} ]]; then _${root.name} "$@"; else compdef _${root.name} ${root.name}; fi
`;
}

function functionOf(node: CommandNode): string {
  const flags = node.flags.map(flagSpec);
  const name = functionName(node);
  if (node.subcommands.length === 0) {
    const specs = [
      ...flags,
      ...(node.argument ? [quote(`*:argument:${action(node.argument)}`)] : []),
    ];
    return `${name}() {\n  _arguments ${specs.join(' ')}\n}`;
  }
  const commands = node.subcommands.map(({ name: word, description }) =>
    quote(`${word}:${description}`),
  );
  const cases = node.subcommands.map((each) => `    ${quote(each.name)}) ${functionName(each)} ;;`);
  return `${name}() {
  local line state
  local -a commands
  commands=(${commands.join(' ')})
  _arguments -C ${flags.join(' ')} '1: :->command' '*:: :->rest'
  if [[ $state == command ]]; then _describe command commands; return; fi
  case $line[1] in
${cases.join('\n')}
  esac
}`;
}

function functionName({ path }: CommandNode): string {
  return `_${path.replaceAll(/[^a-z]/g, '_')}`;
}

/** One flag may be given again. */
function flagSpec({ names, description, value }: Flag): string {
  const text = `[${description.replaceAll(/[[\]\\]/g, String.raw`\$&`)}]`;
  const valueSpec = value === undefined ? '' : `:value:${action(value)}`;
  return names.map((name) => quote(`*${name}${text}${valueSpec}`)).join(' ');
}

function action(offer: Offer): string {
  if (typeof offer === 'object') return `(${offer.join(' ')})`;
  return { files: '_files', directories: '_files -/', nothing: ' ' }[offer];
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
