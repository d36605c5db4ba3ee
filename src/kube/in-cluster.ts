import { isIPv6 } from 'node:net';
import { SecretError } from '../errors/secret-error.ts';

/** Where the API server is, and what shows us to it. */
export type KubeAccess = {
  readonly server: URL;
  /** A bearer token, renewed in place by the kubelet. */
  readonly tokenFile: string;
  /** PEM: the authority of the API server's certificate, and no other. */
  readonly caFile: string;
};

const directory = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * What Kubernetes gives every pod (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
 * @throws SecretError NOT_CONFIGURED outside of a cluster
 */
export function inCluster(env: Readonly<Record<string, string | undefined>>): KubeAccess {
  const host = env.KUBERNETES_SERVICE_HOST;
  const port = env.KUBERNETES_SERVICE_PORT ?? '443';
  const address = `https://${host !== undefined && isIPv6(host) ? `[${host}]` : host}:${port}`;
  if (host === undefined || host === '' || !URL.canParse(address)) {
    throw new SecretError('NOT_CONFIGURED', 'Keyferry does not know where the Kubernetes API server is', {
      hint: 'run it in a pod, or give all of --kube-server, --kube-token-file and --kube-ca-file',
    });
  }
  return { server: new URL(address), tokenFile: `${directory}/token`, caFile: `${directory}/ca.crt` };
}
