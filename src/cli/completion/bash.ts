import { type CommandNode, type Flag, type Offer, allNodes } from './tree.ts';

/**
 * The completion of bash, from 3.2 on. It walks the words to find the command, and then offers the
 * value of the flag before the cursor, or flags, subcommands or arguments of the command.
 */
export function bashScript(root: CommandNode): string {
  const nodes = allNodes(root);
  const commands = nodes.slice(1).map(({ path }) => path);
  const valueFlags = nodes.flatMap((node) => node.flags.filter(hasValue).map(casesOf(node)));
  const values = nodes.flatMap((node) =>
    node.flags
      .filter(hasValue)
      .map((flag) => `    ${casesOf(node)(flag)}) ${offerCode(flag.value)}; return ;;`),
  );
  const flags = nodes.map(
    (node) =>
      `      ${quote(node.path)}) ${wordsCode(node.flags.flatMap(({ names }) => names))} ;;`,
  );
  const rest = nodes.map((node) => `      ${quote(node.path)}) ${restCode(node)} ;;`);
  return `# For ~/.bashrc: source <(${root.name} completion bash)
__keyferry_offer() {
  COMPREPLY=()
  local line
  while IFS= read -r line; do COMPREPLY+=("$line"); done
}
_${root.name}() {
  local command=${root.name} current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} i
  # Bash splits --flag=value into three words.
  if [[ $current == = ]]; then current=; elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$command \${COMP_WORDS[i]}" in
      ${commands.map(quote).join(' | ')}) command="$command \${COMP_WORDS[i]}" ;;
      ${valueFlags.join(' | ')}) ((i++)) ;;
    esac
  done
  COMPREPLY=()
  case "$command $previous" in
${values.join('\n')}
  esac
  if [[ $current == -* ]]; then
    case $command in
${flags.join('\n')}
    esac
  else
    case $command in
${rest.join('\n')}
    esac
  fi
}
complete -F _${root.name} ${root.name}
`;
}

function hasValue(flag: Flag): flag is Flag & { value: Offer } {
  return flag.value !== undefined;
}

/** The patterns of a flag behind its command. */
function casesOf({ path }: CommandNode): (flag: Flag) => string {
  return ({ names }) => names.map((name) => quote(`${path} ${name}`)).join(' | ');
}

function restCode({ subcommands, argument = 'nothing' }: CommandNode): string {
  return subcommands.length > 0
    ? wordsCode(subcommands.map(({ name }) => name))
    : offerCode(argument);
}

function offerCode(offer: Offer): string {
  if (offer === 'nothing') return ':';
  if (typeof offer === 'object') return wordsCode(offer);
  const kind = offer === 'files' ? '-f' : '-d';
  // So that directories end with a slash. Bash 3.2 has no compopt.
  return `compopt -o filenames 2>/dev/null; ${compgenCode(kind)}`;
}

function wordsCode(words: readonly string[]): string {
  return compgenCode(`-W ${quote(words.join(' '))}`);
}

function compgenCode(kind: string): string {
  return `__keyferry_offer < <(compgen ${kind} -- "$current")`;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
