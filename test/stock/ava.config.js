// Apart from `npm test`: where the host emulates guest kernels, this one needs many minutes.
export default {
  files: ['test/stock/**/*.test.ts'],
  extensions: { ts: 'module' },
  workerThreads: false,
  timeout: '60m',
};
