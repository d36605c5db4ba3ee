import unit from './jest.config.mjs';

/** The suites against real servers: slow, and with needs of their own (Go, Python, Debian packages). */
export default {
  ...unit,
  roots: ['<rootDir>/test/e2e'],
  testPathIgnorePatterns: ['/node_modules/'],
  testTimeout: 120_000,
  maxWorkers: 1,
};
