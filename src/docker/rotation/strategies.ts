import { SecretError } from '../../core/errors.ts';
import { sanitizeUserText } from '../../core/safe-text.ts';
import type { Rotation } from '../config/types.ts';
import type { ContainerState, Engine, ListedContainer } from '../engine/engine.ts';
import type { Injection } from '../model/types.ts';
import { volumeNames } from '../model/volumes.ts';
import { cloneOf, replacesLabel, replicasLabel, rollingObstacle } from './clone-container.ts';
import { type HealthDelays, untilHealthy } from './until-healthy.ts';
import { composeLabels } from '../model/labels.ts';

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

/** Restarts the containers one after another. Each must be healthy before the next one. */
export const restart: Strategy = async (context) => {
  const { engine, rotation, isOutdated, delays, signal, owing } = context;
  for (const container of await runningContainers(context)) {
    if (!isOutdated()) return;
    signal.throwIfAborted();
    await checkOthers(container, context);
    await owing(container.id, () => engine.restartContainer(container.id, rotation));
    await untilHealthy(container, engine, delays, signal);
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
    await replace(container, context);
  }
};

/** Sends the signal to all containers at once: they do not stop. */
export const signal: Strategy = async (context) => {
  const { engine, rotation } = context;
  for (const { id } of await runningContainers(context))
    await engine.signalContainer(id, rotation.signal ?? 'SIGHUP');
};

/** A replica that is down stays the only one. */
async function checkOthers({ id }: ListedContainer, context: StrategyContext): Promise<void> {
  for (const other of await containersOf(context)) {
    if (other.id === id) continue;
    const state = await context.engine.container(other.id);
    if (state === undefined || !hasFailed(state)) continue;
    throw new SecretError(
      'ROTATION_FAILED',
      `the other containers are not restarted, because ${sanitizeUserText(other.name)} does not run well`,
      { hint: `see docker logs ${sanitizeUserText(other.name)}` },
    );
  }
}

/** Exit codes of a program that a signal has ended: SIGKILL and SIGTERM, as `docker stop` sends. */
const stoppedCodes = [0, 137, 143];

function hasFailed(state: ContainerState): boolean {
  const { isRunning, isRestarting, health, exitCode, hasStarted, error } = state;
  if (isRunning) return isRestarting || health === 'unhealthy';
  // The exit code is that of the program, also if a later start has failed.
  return hasStarted && (error !== '' || !stoppedCodes.includes(exitCode));
}

async function replace(old: ListedContainer, context: StrategyContext): Promise<void> {
  const { engine, rotation, delays, signal: stop } = context;
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
    number: freeNumber(all),
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
  if ((await containersOf(context)).length <= all.length)
    throw new SecretError(
      'ROTATION_FAILED',
      `${sanitizeUserText(old.name)} is not replaced: another container of the service has been removed meanwhile`,
    );
  await engine.stopContainer(old.id, rotation);
  await engine.removeContainer(old.id);
}

/** An earlier process has been killed while both containers were there. */
async function finishReplacements(context: StrategyContext): Promise<void> {
  const { engine, rotation, delays, signal: stop } = context;
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
    await engine.stopContainer(old.id, rotation);
    await engine.removeContainer(old.id);
  }
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

/** The smallest number that no replica has. */
function freeNumber(containers: readonly ListedContainer[]): number {
  const used = new Set(containers.map(({ labels }) => Number(labels[composeLabels.number])));
  let number = 1;
  while (used.has(number)) number += 1;
  return number;
}

/** The replicas of the service that have its secrets. `docker dso run` makes none. */
async function containersOf({ injection, engine }: StrategyContext) {
  const { project, service } = injection;
  const volume = volumeNames(project, service).variables;
  return (await engine.containers()).filter(
    ({ labels, volumes }) =>
      labels[composeLabels.project] === project &&
      labels[composeLabels.service] === service &&
      labels[composeLabels.oneOff] !== 'True' &&
      volumes.includes(volume),
  );
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
