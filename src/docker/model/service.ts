import { keyPath } from '../problem.ts';
import { type ComposeModel, objectOf } from './compose-model.ts';
import type { ServiceInModel, Report, ReportInService } from './types.ts';

/** The services of a model. */
export function servicesOf(model: ComposeModel): readonly ServiceInModel[] {
  const project = typeof model.name === 'string' ? model.name : '';
  return Object.entries(objectOf(model.services)).map(([service, definition]) => ({
    ...{ project, service, definition: objectOf(definition) },
  }));
}

/** Makes the function that reports problems in one service. */
export function reporterOf({ service }: ServiceInModel, report: Report): ReportInService {
  return (severity, code, key, message, hint) =>
    report({ severity, code, message, hint, where: keyPath(['services', service, ...key]) });
}
