import type { ChainMethod } from './types.ts';

/** What messages say where a cluster and a host without Kubernetes differ. */
export type AwsTexts = {
  /** The owner of the credentials of this process. */
  readonly owner: string;
  /** The remedy where the default credential chain cannot reach a service. */
  readonly loginHint: string;
  /** The message where AWS refuses the role that the chain uses. */
  readonly refusedRole: string;
  /** The message and the remedy where the chain finds no credentials. */
  readonly noCredentials: (method: ChainMethod) => {
    readonly message: string;
    readonly hint: string;
  };
};

export const clusterTexts: AwsTexts = {
  owner: "Keyferry's own identity",
  loginHint: 'check the network path to STS and to the metadata of the node',
  refusedRole: 'AWS refused Keyferry its own role',
  noCredentials: () => ({
    message: 'Keyferry has no AWS credentials of its own',
    hint: 'give its ServiceAccount a role by IRSA or EKS Pod Identity, or its node an instance profile',
  }),
};

const setVariables = 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its environment';
const attachProfile =
  'attach an instance profile (for a container on EC2 with a metadata hop limit of 2)';

export const hostTexts: AwsTexts = {
  owner: 'this host',
  loginHint: 'check the network path to STS and to the instance metadata',
  refusedRole: 'AWS refused the role of this host',
  noCredentials(method) {
    switch (method) {
      case 'default':
        return {
          message:
            'this host has no AWS credentials: none in the environment or in ~/.aws, no ECS task role, and no instance profile',
          hint: `${attachProfile}, or ${setVariables}`,
        };
      case 'environment':
        return {
          message: 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set',
          hint: 'set them, or choose another auth.method in dso.yaml',
        };
      case 'task_role':
        return {
          message: 'there is no ECS task role, or its endpoint does not respond',
          hint: 'give the ECS task a task role, or choose another auth.method in dso.yaml',
        };
      case 'instance_profile':
        return {
          message: 'this host has no instance profile, or the instance metadata cannot be reached',
          hint: `${attachProfile}, or choose another auth.method in dso.yaml`,
        };
    }
  },
};
