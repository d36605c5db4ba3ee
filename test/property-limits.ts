import fc from 'fast-check';

/**
 * Jest loads this file before each test file. A property ends after 10 s, with the runs that it has
 * had by then. Otherwise it would run on after `testTimeout` of jest.config.mjs.
 */
fc.installGlobalPlugin(fc.interruptAfterTimeLimit(10_000));
