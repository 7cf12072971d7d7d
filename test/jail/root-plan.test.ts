import test from 'ava';
import { loadConfig } from '../../lib/config/load.ts';
import { type FileKind, planRoot } from '../../lib/jail/root-plan.ts';

const HOST: Record<string, FileKind> = {
  '/dev/kvm': 'device',
  '/dev/net/tun': 'device',
  '/dev/vdb': 'device',
  '/vm/vmlinux': 'file',
  '/vm/root.img': 'file',
};
const kindOf = (path: string) => HOST[path];

test('a machine without devices needs /dev/kvm and its kernel', async (t) => {
  const config = await loadConfig({ overrides: { kernel: '/vm/vmlinux' } });
  t.deepEqual(planRoot(config, kindOf), {
    files: [
      { path: '/dev/kvm', kind: 'device', readOnly: false },
      { path: '/vm/vmlinux', kind: 'file', readOnly: true },
    ],
    directories: ['/dev', '/proc', '/vm'],
    socketDirectory: undefined,
    socketPath: undefined,
  });
});

const drive = (path: string, readOnly: boolean, id: string) => ({
  id,
  isRoot: false,
  partuuid: undefined,
  cacheType: 'Unsafe' as const,
  backend: { kind: 'file' as const, path, readOnly, ioEngine: 'Sync' as const, rateLimiter: undefined },
});

test('drives are as writable as the configuration has them, a tap needs its device, and a socket its directory', async (t) => {
  const config = await loadConfig({ overrides: { kernel: '/vm/vmlinux', net: ['tap0'] } });
  const { files, directories, socketDirectory } = planRoot(
    {
      ...config,
      drives: [
        drive('/vm/root.img', true, 'a'),
        drive('/dev/vdb', false, 'b'),
        drive('/vm/root.img', false, 'c'),
        drive('/vm/none.img', false, 'd'),
      ],
      vsock: { guestCid: 3, udsPath: '/run/vm/v.sock' },
    },
    kindOf,
  );
  t.deepEqual(files, [
    { path: '/dev/kvm', kind: 'device', readOnly: false },
    { path: '/dev/net/tun', kind: 'device', readOnly: false },
    { path: '/vm/vmlinux', kind: 'file', readOnly: true },
    { path: '/vm/root.img', kind: 'file', readOnly: false },
    { path: '/dev/vdb', kind: 'device', readOnly: false },
  ]);
  t.deepEqual(directories, ['/dev', '/dev/net', '/proc', '/run', '/run/vm', '/vm']);
  t.is(socketDirectory, '/run/vm');
});

test('a user-mode network needs no device', async (t) => {
  const config = await loadConfig({ overrides: { kernel: '/vm/vmlinux', net: ['user'] } });
  t.deepEqual(
    planRoot(config, kindOf).files.map(({ path }) => path),
    ['/dev/kvm', '/vm/vmlinux'],
  );
});
