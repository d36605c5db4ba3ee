import { placesBelow } from './places.ts';

/** The first line of the unit, by which `uninstall` knows it. */
export const unitMark =
  '# Made by docker dso system setup. Change it with: systemctl edit dso-agent';

/**
 * Flags of Node: a small heap, which one thread collects (docs/adr/0013). New objects have 1 MiB:
 * few containers start at once, and 4 MiB would take 3 MiB more.
 */
export const nodeFlags = [
  '--max-semi-space-size=1',
  '--max-old-space-size=64',
  '--no-maglev',
  '--no-parallel-scavenge',
];

/**
 * The unit of the agent.
 *
 * It has no option that gives it a mount namespace of its own, such as ProtectSystem: the engine
 * would not see the tmpfs that the agent mounts. systemd.exec(5), MountFlags.
 * @param node the path of Node on the host
 */
export function agentUnit(node: string): string {
  const { library, configFile, environmentFile, pluginSocket } = placesBelow('/');
  const command = [node, ...nodeFlags, `${library}/keyferry.js`, 'docker-agent'].map(quote);
  return `${unitMark}
[Unit]
Description=Keyferry agent: secrets for containers of Docker
# Docker starts containers as soon as it runs, and those with secrets need the agent.
Before=docker.service
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=${command.join(' ')} --config ${configFile}
# Docker waits until the agent listens, but not for an agent that has ended.
ExecStartPost=/bin/sh -c 'until [ -S ${pluginSocket} ] || ! kill -0 $$MAINPID 2>/dev/null; do sleep 0.1; done'
TimeoutStartSec=30
Restart=on-failure
RestartSec=2
EnvironmentFile=-${environmentFile}
Environment=MALLOC_TRIM_THRESHOLD_=131072
RuntimeDirectory=dso
# Containers that run have their secrets there.
RuntimeDirectoryPreserve=yes
StateDirectory=dso
StateDirectoryMode=0700
# Secrets are in the memory of the agent: no core files, no swap.
LimitCORE=0
MemorySwapMax=0
CapabilityBoundingSet=CAP_SYS_ADMIN CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service @mount
SystemCallErrorNumber=EPERM

[Install]
WantedBy=docker.service multi-user.target
`;
}

/** A word of a command line of systemd. systemd.service(5) */
function quote(word: string): string {
  const escaped = word.replace(/[\\"]/g, '\\$&').replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /[\s"'\\;]/.test(word) ? `"${escaped}"` : escaped;
}
