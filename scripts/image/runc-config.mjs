// Writes the runc configuration that a kubelet would use for the DaemonSet's container: read-only
// root, no capabilities, the container runtime's default seccomp profile, no new privileges, and the
// providers directory as the only writable directory.
// Usage: runc-config.mjs OPTIONS-AS-JSON > config.json
//   { rootfs, args, env, uid, writable: {inside: outside}, readable: {...}, userNamespace }
import { readFileSync } from 'node:fs';

const options = JSON.parse(process.argv[2]);
const {
  rootfs,
  args,
  env = [],
  uid = 0,
  writable = {},
  readable = {},
  userNamespace = false,
} = options;
const profile = JSON.parse(readFileSync('/usr/share/containers/seccomp.json', 'utf8'));
const architecture = { x64: 'SCMP_ARCH_X86_64', arm64: 'SCMP_ARCH_AARCH64' }[process.arch];
const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch];

/** The profile's rules for this architecture and a container without capabilities. */
const syscalls = profile.syscalls
  .filter(({ includes = {}, excludes = {} }) => {
    const isHere = includes.arches === undefined || includes.arches.includes(arch);
    return isHere && !includes.caps?.length && !excludes.arches?.includes(arch);
  })
  .map(({ names, action, args: conditions, errnoRet }) => ({
    names,
    action,
    ...(conditions?.length && { args: conditions }),
    ...(errnoRet !== undefined && action === 'SCMP_ACT_ERRNO' && { errnoRet }),
  }));
const none = { bounding: [], effective: [], inheritable: [], permitted: [], ambient: [] };
const bind =
  (mode) =>
  ([destination, source]) => ({
    destination,
    source,
    type: 'bind',
    options: ['rbind', mode, 'nosuid', 'nodev'],
  });
const tmpfs = (destination) => ({
  destination,
  type: 'tmpfs',
  source: 'tmpfs',
  options: ['ro', 'nosuid', 'nodev'],
});

process.stdout.write(
  JSON.stringify({
    ociVersion: '1.0.2',
    hostname: 'keyferry',
    root: { path: rootfs, readonly: true },
    process: {
      user: { uid, gid: uid },
      args,
      env: ['PATH=/usr/bin', ...env],
      cwd: '/',
      capabilities: none,
      noNewPrivileges: true,
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'mode=755', 'size=64k'],
      },
      ...Object.entries(writable).map(bind('rw')),
      ...Object.entries(readable).map(bind('ro')),
      tmpfs('/sys'),
    ],
    linux: {
      // No network namespace, as with hostNetwork: two containers share a port.
      namespaces: [
        ...['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
        ...(userNamespace ? [{ type: 'user' }] : []),
      ],
      ...(userNamespace && {
        uidMappings: [{ containerID: 0, hostID: 100000, size: 65536 }],
        gidMappings: [{ containerID: 0, hostID: 100000, size: 65536 }],
      }),
      seccomp: {
        defaultAction: profile.defaultAction,
        defaultErrnoRet: profile.defaultErrnoRet,
        architectures: [architecture],
        syscalls,
      },
      maskedPaths: ['/proc/kcore', '/proc/keys', '/proc/timer_list'],
      readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    },
  }),
);
