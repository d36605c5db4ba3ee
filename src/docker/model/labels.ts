/** Labels that Compose gives to each container. */
export const composeLabels = {
  project: 'com.docker.compose.project',
  service: 'com.docker.compose.service',
  /** Which replica of its service it is. */
  number: 'com.docker.compose.container-number',
  /** `True`: of `docker compose run`. */
  oneOff: 'com.docker.compose.oneoff',
} as const;
