import { BlockList, isIP } from 'node:net';

const special: readonly (readonly [network: string, bits: number, family: 'ipv4' | 'ipv6'])[] = [
  ['0.0.0.0', 8, 'ipv4'], // unspecified: this machine
  ['127.0.0.0', 8, 'ipv4'], // loopback
  ['169.254.0.0', 16, 'ipv4'], // link-local: metadata services
  ['100.100.100.200', 32, 'ipv4'], // Alibaba's metadata service
  ['168.63.129.16', 32, 'ipv4'], // Azure's
  ['::', 127, 'ipv6'], // unspecified, loopback
  ['fe80::', 10, 'ipv6'], // link-local
  ['fd00:ec2::', 32, 'ipv6'], // AWS's metadata service and pod identity agent
  ['64:ff9b::', 96, 'ipv6'], // IPv4 inside IPv6, whatever it is: nobody has to write it so
];

/**
 * Whether a host is this machine, its link, or a metadata service: nothing a class may name on its own word.
 * IPv4 mapped into IPv6 is taken for the IPv4 it is.
 */
export function isSpecialHost(hostname: string): boolean {
  const host = hostname.toLowerCase().replace(/^\[|\]$|\.$/g, '');
  if (host === 'localhost' || host.endsWith('.localhost')) return true;
  const addresses = new BlockList();
  for (const network of special) addresses.addSubnet(...network);
  const family = isIP(host);
  return family !== 0 && addresses.check(host, family === 4 ? 'ipv4' : 'ipv6');
}
