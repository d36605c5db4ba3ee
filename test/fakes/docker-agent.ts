import { join } from 'node:path';
import type {
  AgentFailure,
  AgentInfo,
  LogEntry,
  ProjectRegistration,
  RefreshRequest,
  RefreshResult,
  ServiceStatus,
  StoreCheck,
  StoreSecret,
} from '../../src/docker/agent-api.ts';
import { type FakeResponse, startFakeServer } from './http-server.ts';

/** What a {@link startFakeDockerAgent} says. A test changes it in place. */
export type FakeAgentState = {
  info: AgentInfo;
  services: ServiceStatus[];
  /** By the names of stores. */
  secrets: Record<string, StoreSecret[]>;
  /** By the names of stores. A failure is that of the whole request. */
  checks: Record<string, StoreCheck | AgentFailure>;
  /** By paths. */
  refreshed: Record<string, RefreshResult>;
  log: LogEntry[];
};

const defaultInfo: AgentInfo = {
  version: '0.1.0',
  configFile: '/etc/dso/dso.yaml',
  stores: [{ name: 'aws', type: 'aws', region: 'us-east-1' }],
  defaultStore: 'aws',
  exec: 'on',
  pollingIntervalMs: 120_000,
  engine: { socket: '/run/docker.sock' },
  hasGrants: false,
};

/** The API of the agent of `docker dso`, on a unix socket in the directory. It has no secrets. */
export async function startFakeDockerAgent(directory: string) {
  const socket = join(directory, 'agent.sock');
  const projects = new Map<string, ProjectRegistration>();
  const state: FakeAgentState = {
    ...{ info: defaultInfo, services: [] },
    ...{ secrets: {}, checks: {}, refreshed: {}, log: [] },
  };
  const server = await startFakeServer({
    socketPath: socket,
    handler: ({ method, path, query, body }) => {
      const [, version, resource = '', name = '', part] = path.split('/');
      const id = decodeURIComponent(name);
      const route = `${method} ${version}/${resource}${part === undefined ? '' : `/${part}`}`;
      const json = (): unknown => JSON.parse(body.toString()) as unknown;
      switch (route) {
        case 'GET v1/info':
          return { body: state.info };
        case 'PUT v1/projects':
          projects.set(id, json() as ProjectRegistration);
          return { body: {} };
        case 'DELETE v1/projects':
          projects.delete(id);
          return { body: {} };
        case 'GET v1/services': {
          const project = new URLSearchParams(query).get('project');
          return {
            body: state.services.filter(
              (service) => (project ?? service.project) === service.project,
            ),
          };
        }
        case 'GET v1/stores/secrets':
          return id in state.secrets
            ? { body: state.secrets[id] ?? [] }
            : failed('NOT_CONFIGURED', `no store ${id}`);
        case 'POST v1/stores/check':
          return answerCheck(state.checks[id] ?? {});
        case 'POST v1/refresh': {
          const { path: secret } = json() as RefreshRequest;
          const result = state.refreshed[secret];
          return result === undefined
            ? failed('OBJECT_NOT_FOUND', `aws: there is no secret ${secret}`, 'check the path')
            : { body: result };
        }
        case 'GET v1/log':
          return { body: state.log.map((entry) => `${JSON.stringify(entry)}\n`).join('') };
        default:
          return failed('INVALID_REQUEST', 'there is no such request');
      }
    },
  });
  return { socket, projects, state, server };
}

function answerCheck(check: StoreCheck | AgentFailure): FakeResponse {
  return 'code' in check ? failed(check.code, check.message, check.hint) : { body: check };
}

function failed(code: string, message: string, hint?: string): FakeResponse {
  const body: AgentFailure = { code, message, ...(hint !== undefined && { hint }) };
  return { status: 400, body };
}

/** See {@link startFakeDockerAgent}. */
export type FakeDockerAgent = Awaited<ReturnType<typeof startFakeDockerAgent>>;
