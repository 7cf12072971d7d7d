// Apart from `npm test`: where the host emulates guest kernels, this one needs half an hour.
export default {
  files: ['test/stock/**/*.test.ts'],
  extensions: { ts: 'module' },
  workerThreads: false,
  timeout: '60m',
};
