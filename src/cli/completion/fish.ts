import { type CommandNode, type Flag, type Offer, allNodes } from './tree.ts';

/** The completion of fish, from 3.0 on. Its function finds the command, as that of bash does. */
export function fishScript(root: CommandNode): string {
  const nodes = allNodes(root);
  const commands = nodes.slice(1).map(({ path }) => quote(path));
  const valueFlags = nodes.flatMap(({ path, flags }) =>
    flags
      .filter(({ value }) => value !== undefined)
      .flatMap(({ names }) => names.map((name) => quote(`${path} ${name}`))),
  );
  return `# For ~/.config/fish/config.fish: ${root.name} completion fish | source
function __${root.name}_at
    set -l command ${root.name}
    set -l is_value no
    for word in (commandline -opc)[2..-1]
        if test $is_value = yes
            set is_value no
            continue
        end
        switch "$command $word"
            case ${commands.join(' ')}
                set command "$command $word"
            case ${valueFlags.join(' ')}
                set is_value yes
        end
    end
    test "$command" = "$argv"
end
complete -c ${root.name} -f
${nodes.flatMap(linesOf).join('\n')}
`;
}

function linesOf({ path, flags, subcommands, argument = 'nothing' }: CommandNode): string[] {
  const [program = ''] = path.split(' ');
  const line = `complete -c ${program} -n ${quote(`__${program}_at ${path}`)}`;
  return [
    ...subcommands.map(
      ({ name, description }) => `${line} -a ${quote(name)} -d ${quote(description)}`,
    ),
    ...flags.map(
      ({ names, description, value }) =>
        `${line} ${names.map(nameCode).join(' ')}${valueCode(value)} -d ${quote(description)}`,
    ),
    ...(argument === 'nothing' ? [] : [`${line} ${offerCode(argument)}`]),
  ];
}

function nameCode(name: string): string {
  return name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`;
}

function valueCode(value: Flag['value']): string {
  return value === undefined ? '' : ` -r ${value === 'nothing' ? '-f' : offerCode(value)}`;
}

function offerCode(offer: Exclude<Offer, 'nothing'>): string {
  if (offer === 'files') return '-F';
  const words = typeof offer === 'object' ? offer.join(' ') : '(__fish_complete_directories)';
  return `-f -a ${quote(words)}`;
}

function quote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}
