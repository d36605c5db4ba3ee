import { SecretError, codes } from '../../core/errors.ts';
import {
  type AgentInfo,
  type LogQuery,
  type ProjectRegistration,
  type RefreshRequest,
  type RefreshResult,
  type ServiceStatus,
  type StoreCheck,
  type StoreSecret,
  toFailure,
} from '../agent-api.ts';
import { readRefreshRequest, readRegistration } from '../delivery/documents.ts';
import type { Handle, JsonRequest, JsonResponse } from './json-server.ts';

/** What the API does; see agent-api.ts. */
export type ControlActions = {
  info(): AgentInfo;
  putProject(name: string, registration: ProjectRegistration): Promise<void>;
  deleteProject(name: string): Promise<void>;
  services(project: string | undefined): readonly ServiceStatus[];
  listSecrets(store: string, signal: AbortSignal): Promise<readonly StoreSecret[]>;
  checkStore(store: string, signal: AbortSignal): Promise<StoreCheck>;
  refresh(request: RefreshRequest, signal: AbortSignal): Promise<RefreshResult>;
  /** Lines of JSON. */
  log(query: LogQuery, signal: AbortSignal): AsyncIterable<string>;
};

type Route = { readonly method: string; readonly path: RegExp } & (
  | { readonly run: (actions: ControlActions, request: JsonRequest, name: string) => unknown }
  | { readonly lines: (actions: ControlActions, request: JsonRequest) => AsyncIterable<string> }
);

/** The table in agent-api.ts. */
const routes: readonly Route[] = [
  { method: 'GET', path: /^\/v1\/info$/, run: (actions) => actions.info() },
  {
    method: 'PUT',
    path: /^\/v1\/projects\/([^/]+)$/,
    run: async (actions, { json }, name) => {
      await actions.putProject(name, readRegistration(json, name));
      return {};
    },
  },
  {
    method: 'DELETE',
    path: /^\/v1\/projects\/([^/]+)$/,
    run: async (actions, _, name) => {
      await actions.deleteProject(name);
      return {};
    },
  },
  {
    method: 'GET',
    path: /^\/v1\/services$/,
    run: (actions, { url }) => actions.services(url.searchParams.get('project') ?? undefined),
  },
  {
    method: 'GET',
    path: /^\/v1\/stores\/([^/]+)\/secrets$/,
    run: (actions, { signal }, name) => actions.listSecrets(name, signal),
  },
  {
    method: 'POST',
    path: /^\/v1\/stores\/([^/]+)\/check$/,
    run: (actions, { signal }, name) => actions.checkStore(name, signal),
  },
  {
    method: 'POST',
    path: /^\/v1\/refresh$/,
    run: (actions, { json, signal }) => actions.refresh(readRefreshRequest(json), signal),
  },
  {
    method: 'GET',
    path: /^\/v1\/log$/,
    lines: (actions, { url, signal }) => actions.log(readLogQuery(url.searchParams), signal),
  },
];

/** Serves the API of agent-api.ts. */
export function createControlApi(actions: ControlActions): Handle {
  return async (request) => {
    const { method, url } = request;
    for (const route of routes) {
      const [found, name = ''] = route.path.exec(url.pathname) ?? [];
      if (found === undefined || route.method !== method) continue;
      if ('lines' in route) return { status: 200, lines: route.lines(actions, request) };
      return { status: 200, json: await route.run(actions, request, decode(name)) };
    }
    throw new SecretError('INVALID_REQUEST', 'the agent has no such request', {
      hint: 'check that docker dso and the agent have the same version',
    });
  };
}

/** See `LogQuery`. */
function readLogQuery(parameters: URLSearchParams): LogQuery {
  const number = (name: string): number | undefined => {
    const text = parameters.get(name);
    if (text === null) return undefined;
    if (/^\d{1,15}$/.test(text)) return Number(text);
    throw new SecretError('INVALID_REQUEST', `${name} of the log must be a whole number`);
  };
  const tail = number('tail');
  const since = number('since');
  const project = parameters.get('project');
  return {
    follow: parameters.get('follow') === 'true',
    ...(tail !== undefined && { tail }),
    ...(since !== undefined && { since }),
    ...(project !== null && { project }),
    services: parameters.getAll('service'),
  };
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

const statuses: Readonly<Record<(typeof codes)[keyof typeof codes]['grpc'], number>> = {
  INVALID_ARGUMENT: 400,
  UNAUTHENTICATED: 502,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  FAILED_PRECONDITION: 409,
  INTERNAL: 500,
};

/** The response to a failure. */
export function toFailureResponse(error: SecretError): JsonResponse {
  return { status: statuses[codes[error.code].grpc], json: toFailure(error) };
}
