import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Rotation } from '../config/types.ts';
import type { ContainerState, Engine, ListedContainer } from '../engine/engine.ts';
import { composeLabels } from '../model/labels.ts';
import type { Injection } from '../model/types.ts';
import { volumeNames } from '../model/volumes.ts';
import { cloneOf, replacesLabel, replicasLabel, rollingObstacle } from './clone-container.ts';
import { type HealthDelays, untilHealthy } from './until-healthy.ts';

/** What a strategy gets. */
export type StrategyContext = {
  readonly injection: Injection;
  readonly rotation: Rotation;
  readonly engine: Engine;
  /** Whether a container still runs with an earlier version. */
  readonly isOutdated: () => boolean;
  readonly delays: HealthDelays;
  readonly signal: AbortSignal;
  /** Runs a restart, and sees to it that the container starts if that fails. */
  readonly owing: Owing;
};

/** See {@link StrategyContext}. */
export type Owing = (id: string, restart: () => Promise<void>) => Promise<void>;

/** Brings new versions to the containers of a service. @throws SecretError */
export type Strategy = (context: StrategyContext) => Promise<void>;

/**
 * Restarts the containers one after another. Each must be healthy before the next one. If all have
 * the current versions, an earlier attempt has failed, and they must be healthy by now.
 */
export const restart: Strategy = async (context) => {
  const { engine, rotation, isOutdated, delays, signal, owing } = context;
  if (!isOutdated()) return checkOthers(undefined, context);
  for (const container of await runningContainers(context)) {
    if (!isOutdated()) return;
    signal.throwIfAborted();
    await checkOthers(container, context);
    if (!(await isStillRunning(container, context))) continue;
    await owing(container.id, () => engine.restartContainer(container.id, rotation));
    try {
      await untilHealthy(container, engine, delays, signal);
    } catch (error) {
      if (!isStopped(await engine.container(container.id))) throw error;
    }
  }
};

/**
 * Replaces the containers one after another: a new one starts, and must be healthy before the old
 * one stops. What a killed process has left half done is finished first.
 */
export const roll: Strategy = async (context) => {
  const { isOutdated, signal } = context;
  await finishReplacements(context);
  for (const container of await runningContainers(context)) {
    if (!isOutdated()) return;
    signal.throwIfAborted();
    if (await isStillRunning(container, context)) await replace(container, context);
  }
};

/** Sends the signal to all containers at once: they do not stop. */
export const signal: Strategy = async (context) => {
  const { engine, rotation, isOutdated } = context;
  if (!isOutdated()) return;
  for (const { id } of await runningContainers(context))
    await engine.signalContainer(id, rotation.signal ?? 'SIGHUP');
};

/** A replica that is down stays the only one, unless this one is down too. */
async function checkOthers(own: ListedContainer | undefined, context: StrategyContext) {
  const { engine, delays, signal } = context;
  const state = own && (await engine.container(own.id));
  if (state && hasFailed(state)) return;
  for (const other of await containersOf(context)) {
    if (other.id === own?.id) continue;
    const otherState = await engine.container(other.id);
    if (otherState === undefined) continue;
    if (hasFailed(otherState))
      throw new SecretError(
        'ROTATION_FAILED',
        `the other containers are not restarted, because ${sanitizeUserText(other.name)} does not run well`,
        { hint: `see docker logs ${sanitizeUserText(other.name)}` },
      );
    if (other.state === 'running' && otherState.health === 'starting')
      await untilHealthy(other, engine, delays, signal);
  }
}

/** Exit codes of a program that a signal has ended: SIGKILL and SIGTERM, as `docker stop` sends. */
const stoppedCodes = [0, 137, 143];

/** A person or Compose has stopped or removed it, or its program has done its work. */
function isStopped(state: ContainerState | undefined): boolean {
  if (state === undefined) return true;
  return !state.isRunning && state.error === '' && stoppedCodes.includes(state.exitCode);
}

function hasFailed(state: ContainerState): boolean {
  const { isRunning, isRestarting, health, exitCode, hasStarted, error } = state;
  if (isRunning) return isRestarting || health === 'unhealthy';
  // The exit code is that of the program, also if a later start has failed.
  return hasStarted && (error !== '' || !stoppedCodes.includes(exitCode));
}

async function replace(old: ListedContainer, context: StrategyContext): Promise<void> {
  const { engine, delays, signal: stop } = context;
  const details = await engine.inspect(old.id);
  const obstacle = rollingObstacle(details) ?? (await dependentOn(old, engine));
  if (obstacle !== undefined)
    throw new SecretError(
      'ROTATION_FAILED',
      `${sanitizeUserText(old.name)} cannot be replaced while it runs: ${obstacle}`,
      { hint: 'use the strategy restart for this service' },
    );
  const all = await containersOf(context);
  const clone = cloneOf(details, {
    number: freeNumber(await allContainersOf(context)),
    image: await imageOf(details, engine),
    replicas: all.length,
  });
  const id = await engine.createContainer(clone.name, clone.body);
  try {
    for (const [network, endpoint] of clone.networks)
      await engine.connectToNetwork(network, id, endpoint);
    await engine.startContainer(id);
    await untilHealthy({ id, name: clone.name }, engine, delays, stop);
  } catch (error) {
    // A process that stops leaves it for the next one, which finishes the replacement.
    if (!stop.aborted) await engine.removeContainer(id);
    throw error;
  }
  const left = await containersOf(context);
  const oldState = await engine.container(old.id);
  // Compose has removed it. The new one takes its place, unless Compose has made another one.
  if (oldState === undefined && left.length <= all.length) return;
  // The service shall not run any more, or Compose has made a replica of its own.
  if (isStopped(oldState)) return engine.removeContainer(id);
  if (left.length <= all.length)
    throw new SecretError(
      'ROTATION_FAILED',
      `${sanitizeUserText(old.name)} is not replaced: another container of the service has been removed meanwhile`,
    );
  await retire(old, context);
}

/** An earlier process has been killed while both containers were there. */
async function finishReplacements(context: StrategyContext): Promise<void> {
  const { engine, delays, signal: stop } = context;
  const all = await containersOf(context);
  for (const container of all) {
    const old = all.find(({ id }) => id === container.labels[replacesLabel]);
    // Compose has taken the new one as a replica, and has removed another one: docker dso up.
    const isTaken = all.length <= Number(container.labels[replicasLabel] ?? 0);
    if (old === undefined || isTaken) continue;
    try {
      await untilHealthy(container, engine, delays, stop);
    } catch (error) {
      if (stop.aborted) throw error;
      await engine.removeContainer(container.id);
      continue;
    }
    await retire(old, context);
  }
}

async function retire({ id }: ListedContainer, { engine, rotation }: StrategyContext) {
  await engine.stopContainer(id, rotation);
  await engine.removeContainer(id);
}

/** Another container that uses the network of this one would lose it. */
async function dependentOn({ id }: ListedContainer, engine: Engine): Promise<string | undefined> {
  const user = (await engine.containers()).find(
    ({ networkMode }) => networkMode === `container:${id}`,
  );
  return user && `${sanitizeUserText(user.name)} uses its network`;
}

/** The name of the image, unless it means another image by now. */
async function imageOf(details: Readonly<Record<string, unknown>>, engine: Engine) {
  const { Image: id, Config } = details as { Image: string; Config: { Image: string } };
  return (await engine.imageId(Config.Image)) === id ? Config.Image : id;
}

/** The smallest number that no container of the service has in its name. */
function freeNumber(containers: readonly ListedContainer[]): number {
  const used = new Set(containers.map(({ labels }) => Number(labels[composeLabels.number])));
  let number = 1;
  while (used.has(number)) number += 1;
  return number;
}

/** The replicas of the service that have its secrets. `docker dso run` makes none. */
async function containersOf(context: StrategyContext) {
  const { project, service } = context.injection;
  const volume = volumeNames(project, service).variables;
  return (await allContainersOf(context)).filter(
    ({ labels, volumes }) => labels[composeLabels.oneOff] !== 'True' && volumes.includes(volume),
  );
}

/** Also those that plain `docker compose` has made, without secrets. */
async function allContainersOf({ injection, engine }: StrategyContext) {
  const { project, service } = injection;
  return (await engine.containers()).filter(
    ({ labels }) =>
      labels[composeLabels.project] === project && labels[composeLabels.service] === service,
  );
}

/** A person or Compose may have stopped it since: a restart would start it. */
async function isStillRunning({ id }: ListedContainer, context: StrategyContext): Promise<boolean> {
  return (await containersOf(context)).some((each) => each.id === id && each.state === 'running');
}

/** Those that run, the one that started first before the others. */
async function runningContainers(context: StrategyContext): Promise<readonly ListedContainer[]> {
  const running = (await containersOf(context)).filter(({ state }) => state === 'running');
  const started = await Promise.all(
    running.map(async (container) => ({
      container,
      at: (await context.engine.container(container.id))?.startedAt ?? '',
    })),
  );
  return started
    .sort((one, other) => (one.at < other.at ? -1 : 1))
    .map(({ container }) => container);
}
