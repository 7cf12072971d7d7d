import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { BUILT_SECTIONS } from '../../lib/config/built.ts';
import { inspectConfig, loadConfig } from '../../lib/config/load.ts';
import type { Overrides } from '../../lib/config/overrides.ts';
import { ConfigProblems, problemToLine } from '../../lib/config/problems.ts';
import { DEFAULT_CMDLINE, type VmConfig } from '../../lib/config/types.ts';
import { ExitCode } from '../../lib/errors.ts';
import { everything, fixtures, KERNEL, problemsOf, temporaryDirectory } from './support.ts';

test('a minimal file gets the defaults, and paths that begin at the file', async (t) => {
  const config = await loadConfig({ file: join(fixtures, 'minimal.json'), cwd: '/' });
  t.deepEqual(config, {
    id: 'anonymous-instance',
    boot: { kernelPath: join(fixtures, 'vmlinux'), initrdPath: undefined, cmdline: DEFAULT_CMDLINE },
    machine: {
      vcpuCount: 1,
      memorySize: 128 * 2 ** 20,
      smt: false,
      cpuTemplate: 'None',
      trackDirtyPages: false,
      hugePages: 'None',
      transport: 'mmio',
    },
    serial: { kind: 'stdio', rateLimiter: undefined },
    console: { kind: 'none' },
    logger: {
      path: undefined,
      level: 'Warning',
      showLevel: false,
      showOrigin: false,
      module: undefined,
      format: 'text',
    },
    cpu: undefined,
    metrics: undefined,
    drives: [],
    networkInterfaces: [],
    vsock: undefined,
    entropy: undefined,
    balloon: undefined,
    mmds: undefined,
    pmem: [],
    memoryHotplug: undefined,
  } satisfies VmConfig);
});

test('every key of Firecracker reaches the machine, in its units', async (t) => {
  const config = await loadConfig({ file: join(fixtures, 'everything.json'), built: everything, id: 'vm-1' });
  const bucket = (size: number, refillTime: number, oneTimeBurst = 0) => ({ size, refillTime, oneTimeBurst });
  t.deepEqual(config, {
    id: 'vm-1',
    boot: {
      kernelPath: '/boot/vmlinux',
      initrdPath: join(fixtures, 'images/initramfs.cpio'),
      cmdline: 'console=ttyS0',
    },
    machine: {
      vcpuCount: 4,
      memorySize: 512 * 2 ** 20,
      smt: true,
      cpuTemplate: 'T2',
      trackDirtyPages: true,
      hugePages: '2M',
      transport: 'pci',
    },
    serial: { kind: 'file', path: join(fixtures, 'console.log'), rateLimiter: bucket(65536, 1000, 131072) },
    console: { kind: 'file', path: join(fixtures, 'hvc0.log'), rateLimiter: bucket(1000, 100) },
    logger: {
      path: join(fixtures, 'mvm.log'),
      level: 'Warning',
      showLevel: true,
      showOrigin: true,
      module: 'serial',
      format: 'json',
    },
    cpu: {
      addCapabilities: [121],
      removeCapabilities: [56],
      cpuid: [{ leaf: 7, subleaf: 0, flags: 1, registers: [{ register: 'ebx', mask: 0b1101, set: 0b0101 }] }],
      msrs: [{ address: 266, mask: 0b1001n, set: 0b1000n }],
    },
    metrics: { path: join(fixtures, 'metrics.json'), properties: { customer_id: '1234' } },
    drives: [
      {
        id: 'rootfs',
        isRoot: true,
        partuuid: '0eaa91a0-01',
        cacheType: 'Writeback',
        backend: {
          kind: 'file',
          path: join(fixtures, 'rootfs.ext4'),
          readOnly: true,
          ioEngine: 'Async',
          rateLimiter: { bandwidth: bucket(1048576, 100), ops: bucket(1000, 1000, 500) },
        },
      },
      {
        id: 'data',
        isRoot: false,
        partuuid: undefined,
        cacheType: 'Unsafe',
        backend: { kind: 'vhost-user', socketPath: join(fixtures, 'data.sock') },
      },
    ],
    networkInterfaces: [
      {
        id: 'eth0',
        link: { kind: 'tap', name: 'tap0' },
        guestMac: '06:00:ac:10:00:02',
        mtu: 1400,
        rxRateLimiter: { bandwidth: bucket(10, 1), ops: undefined },
        txRateLimiter: undefined,
      },
      {
        id: 'eth1',
        link: { kind: 'passt', tcpPorts: ['8080:80', '127.0.0.1/8022:22'], udpPorts: ['5353:53'] },
        guestMac: '06:00:00:00:00:02',
        mtu: undefined,
        rxRateLimiter: undefined,
        txRateLimiter: undefined,
      },
      {
        id: 'eth2',
        link: { kind: 'socket', path: join(fixtures, 'passt.sock') },
        guestMac: undefined,
        mtu: undefined,
        rxRateLimiter: undefined,
        txRateLimiter: undefined,
      },
    ],
    vsock: { guestCid: 3, udsPath: join(fixtures, 'vm.vsock') },
    entropy: { rateLimiter: { bandwidth: bucket(1000, 100), ops: undefined } },
    balloon: {
      amount: 64 * 2 ** 20,
      deflateOnOom: true,
      statsPollingInterval: 5,
      freePageHinting: true,
      freePageReporting: true,
    },
    mmds: { version: 'V2', networkInterfaces: ['eth0'], ipv4Address: '169.254.170.2', imdsCompat: true },
    pmem: [{ id: 'pmem0', path: join(fixtures, 'data.img'), isRoot: false, readOnly: true, rateLimiter: undefined }],
    memoryHotplug: { totalSize: 2 ** 30, slotSize: 2 ** 28, blockSize: 2 ** 22 },
  } satisfies VmConfig);
});

test('a file as Firecracker writes it, with null for what is left out, is read', async (t) => {
  const config = await loadConfig({ file: join(fixtures, 'firecracker.json'), built: everything });
  t.is(config.boot.initrdPath, undefined);
  t.is(config.vsock, undefined);
  t.deepEqual(config.networkInterfaces, []);
  t.is(config.drives[0]!.backend.kind, 'file');
});

test('what is not built is refused by name, and null or an empty list is not a request for it', async (t) => {
  const problems = await problemsOf(t, readFileSync(join(fixtures, 'everything.json'), 'utf8'), {
    built: { sections: { drives: false, vsock: false }, keys: [{ path: ['machine-config', 'smt'], neutral: false }] },
  });
  t.deepEqual(
    problems.map((line) => line.replace(/^\d+:\d+: /, '')),
    [
      '/machine-config/smt: this version of mvm cannot do it yet; leave it out or give false',
      '/drives: this version of mvm cannot do it yet; leave it out',
      '/vsock: this version of mvm cannot do it yet; leave it out',
    ],
  );
  t.deepEqual(
    await problemsOf(t, '{"boot-source": {"kernel_image_path": "k"}, "drives": [], "vsock": null}', {
      built: { sections: { drives: false, vsock: false }, keys: [] },
    }),
    [],
  );
});

test('every section that is not built is refused, on each way in', async (t) => {
  for (const [name, isBuilt] of Object.entries(BUILT_SECTIONS)) {
    const document = JSON.parse(readFileSync(join(fixtures, 'everything.json'), 'utf8')) as Record<string, unknown>;
    const text = JSON.stringify({ 'boot-source': document['boot-source'], [name]: document[name] });
    const problems = await problemsOf(t, text);
    t.is(
      problems.some((line) => line.includes(`/${name}: this version of mvm cannot do it yet`)),
      !isBuilt,
      name,
    );
  }
});

test('all problems come, in the order of the text, each with its place', async (t) => {
  const text = `{
  "boot-source": {
    "kernel_image_path": "vmlinux",
    "initrd": "x"
  },
  "machine-config": {
    "vcpu_count": 33, "mem_size_mib": "1G",
    "smt": null
  },
  "logger": [],
  "serial": { "mode": "Stdio", "mode": "stdio" },
  "drives": [{ "drive_id": "a b" }],
  "vcpu_count": 2,
  "nonsense-nonsense": {}
}`;
  t.deepEqual(await problemsOf(t, text, { built: everything }), [
    '4:5: /boot-source/initrd: unknown key; did you mean "initrd_path"?',
    '7:19: /machine-config/vcpu_count: must be at most 32, not 33',
    '7:39: /machine-config/mem_size_mib: must be a number, not "1G"',
    '10:13: /logger: must be an object, not an array',
    '11:32: /serial/mode: this key was given before; keep one of them',
    '12:14: /drives/0/is_root_device: is missing',
    '12:28: /drives/0/drive_id: must be 1 to 64 letters, digits and "_", not "a b"',
    '13:3: /vcpu_count: unknown key; it belongs in "machine-config"',
    '14:3: /nonsense-nonsense: unknown key; known keys are boot-source, machine-config, serial, console, logger, cpu-config, drives, network-interfaces, vsock, entropy, balloon, metrics, mmds-config, pmem, memory-hotplug',
  ]);
});

test('a CPU template is read from the file that cpu-config names', async (t) => {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, 'cpu'));
  writeFileSync(join(directory, 'vm.json'), `{${KERNEL}, "cpu-config": "cpu/template.json"}`);
  const options = { file: join(directory, 'vm.json'), built: everything };
  const line = async () => (await inspectConfig(options)).problems.map(problemToLine);
  t.deepEqual(await line(), ['cpu/template.json: there is no such file']);
  writeFileSync(join(directory, 'cpu/template.json'), '{"msr_modifiers": [{"addr": "0x10a", "bitmp": "0b1"}]}');
  t.deepEqual(await line(), [
    'cpu/template.json:1:20: /msr_modifiers/0/bitmap: is missing',
    'cpu/template.json:1:38: /msr_modifiers/0/bitmp: unknown key; did you mean "bitmap"?',
  ]);
  writeFileSync(join(directory, 'cpu/template.json'), '{"msr_modifiers": [{"addr": "0x10a", "bitmap": "0b1x"}]}');
  t.deepEqual((await loadConfig(options)).cpu?.msrs, [{ address: 0x10a, mask: 0b10n, set: 0b10n }]);
});

test('options override the file’s keys, their paths begin at the working directory, and mistakes in them name them', async (t) => {
  const file = join(fixtures, 'linux.json');
  const config = await loadConfig({
    file,
    cwd: '/elsewhere',
    overrides: {
      kernel: 'k',
      cmdline: 'quiet',
      memory: '1G',
      cpus: '4',
      'huge-pages': 'None',
      serial: 'out.log',
      'log-level': 'debug',
      'log-format': 'json',
      'show-log-origin': true,
      module: 'serial',
    },
  });
  t.deepEqual(config.boot, {
    kernelPath: '/elsewhere/k',
    initrdPath: join(fixtures, 'initramfs.cpio.gz'),
    cmdline: 'quiet',
  });
  t.is(config.machine.memorySize, 2 ** 30);
  t.is(config.machine.vcpuCount, 4);
  t.is(config.machine.hugePages, 'None');
  t.deepEqual(config.serial, { kind: 'file', path: '/elsewhere/out.log', rateLimiter: undefined });
  t.is(config.logger.level, 'Debug');
  t.is(config.logger.format, 'json');
  t.true(config.logger.showLevel, 'of the file, still');
  t.true(config.logger.showOrigin);
  t.is(config.logger.module, 'serial');

  const error = await t.throwsAsync(
    loadConfig({ file, overrides: { memory: '1.5K', cpus: '0', 'huge-pages': 'None', 'log-level': 'x' }, id: 'a b' }),
    { instanceOf: ConfigProblems },
  );
  t.is(error.exitCode, ExitCode.Usage);
  t.deepEqual(error.problems.map(problemToLine), [
    '--memory: 1.5K is not a multiple of 1 MiB; give it as 256M or 2G',
    '--id: must be 1 to 64 letters, digits and "-", not "a b"',
    '--cpus: must be at least 1, not 0',
    '--log-level: must be one of Off, Error, Warning, Info, Debug and Trace, not "x"',
  ]);
});

test('options alone describe a machine', async (t) => {
  const config = await loadConfig({ cwd: '/', overrides: { kernel: 'k', initrd: 'i', serial: 'none' } });
  t.deepEqual(config.boot, { kernelPath: '/k', initrdPath: '/i', cmdline: DEFAULT_CMDLINE });
  t.deepEqual(config.serial, { kind: 'none' });
  const error = await t.throwsAsync(loadConfig({ overrides: { memory: '1G' } }), { instanceOf: ConfigProblems });
  t.is(error.toLine(), '--kernel: is missing; give it, or a configuration file');
  t.is(error.exitCode, ExitCode.Usage);
});

test('the transport: a key, an option, and Firecracker’s option for it', async (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, 'vm.json');
  writeFileSync(file, `{${KERNEL}, "machine-config": {"transport": "pci"}}`);
  const transport = async (overrides: Overrides) => (await loadConfig({ file, overrides })).machine.transport;
  t.is(await transport({}), 'pci');
  t.is(await transport({ transport: 'mmio' }), 'mmio');
  t.is(await transport({ 'enable-pci': false }), 'mmio');
  t.is(await transport({ 'enable-pci': true, transport: 'pci' }), 'pci');
  t.is((await loadConfig({ overrides: { kernel: 'k', 'enable-pci': true } })).machine.transport, 'pci');
  const lines = async (overrides: Overrides) => (await inspectConfig({ file, overrides })).problems.map(problemToLine);
  t.deepEqual(await lines({ 'enable-pci': true, transport: 'mmio' }), [
    '--enable-pci: contradicts --transport mmio; leave one of them out',
  ]);
  t.deepEqual(await lines({ 'enable-pci': false, transport: 'pci' }), [
    '--no-enable-pci: contradicts --transport pci; leave one of them out',
  ]);
  t.deepEqual(await lines({ transport: 'isa' }), ['--transport: must be "mmio" or "pci", not "isa"']);
});

test('--console: a virtio console at the terminal or in a file, or none', async (t) => {
  const file = join(temporaryDirectory(t), 'vm.json');
  writeFileSync(file, `{${KERNEL}, "console": {"console_out_path": "x", "mode": "file"}}`);
  const load = (overrides: Overrides) => loadConfig({ file, overrides, cwd: '/x' });
  t.is((await load({})).console.kind, 'file');
  t.deepEqual((await load({ console: 'virtio' })).console, { kind: 'stdio', rateLimiter: undefined });
  t.deepEqual((await load({ console: 'out' })).console, { kind: 'file', path: '/x/out', rateLimiter: undefined });
  const none = await load({ console: 'serial' });
  t.deepEqual(none.console, { kind: 'none' });
  t.is(none.boot.cmdline, DEFAULT_CMDLINE);
  t.regex((await load({ console: 'virtio' })).boot.cmdline, /^console=hvc0 reboot=k /);
  t.is((await load({ console: 'virtio', cmdline: 'quiet' })).boot.cmdline, 'quiet');
  t.deepEqual((await loadConfig({ overrides: { kernel: 'k', console: 'virtio' } })).serial.kind, 'stdio');
});

test('--net makes network interfaces, instead of those in the file', async (t) => {
  const net = [
    'user,tcp=8080:80,udp=5353:53,tcp=127.0.0.1/8022:22,mtu=1400',
    'tap7,mac=06:00:AC:10:00:02',
    'user,socket=p',
  ];
  const json = `{${KERNEL}, "network-interfaces": [{"iface_id": "a"}]}`;
  t.deepEqual(await problemsOf(t, json), [
    '1:68: /network-interfaces/0: needs host_dev_name (a tap) or passt (a user-mode network)',
  ]);
  const { networkInterfaces } = await loadConfig({ cwd: '/x', overrides: { kernel: 'k', net } });
  t.like(networkInterfaces, [
    {
      id: 'eth0',
      link: { kind: 'passt', tcpPorts: ['8080:80', '127.0.0.1/8022:22'], udpPorts: ['5353:53'] },
      mtu: 1400,
    },
    { id: 'eth1', link: { kind: 'tap', name: 'tap7' }, guestMac: '06:00:ac:10:00:02' },
    { id: 'eth2', link: { kind: 'socket', path: '/x/p' } },
  ]);
  t.deepEqual(await problemsOf(t, json, { overrides: { net } }), []);
  for (const [text, problem] of [
    ['user,tpc=80', 'unknown setting "tpc=80"; user takes tcp=PORTS, udp=PORTS, socket=PATH, mac=ADDRESS and mtu=N'],
    ['tap0,tcp=80', 'unknown setting "tcp=80"; a tap takes mac=ADDRESS and mtu=N'],
    ['user,mtu=big', 'must be a whole number, not "big"'],
    ['user,tcp=-t', 'must be ports of the host as "8080:80" or "127.0.0.1/8022:22", not "-t"'],
    ['user,socket=p,udp=53', 'has no use with socket; give the ports to the passt that listens there'],
    ['a/b', 'must be a network device name of 1 to 15 characters, not "a/b"'],
    ['', 'must be a network device name of 1 to 15 characters, not ""'],
  ] as const) {
    t.deepEqual(await problemsOf(t, `{${KERNEL}}`, { overrides: { net: [text] } }), [`--net: ${problem}`]);
  }
});

test('an option that replaces the file’s wrong value mends it', async (t) => {
  const json = `{${KERNEL}, "machine-config": {"vcpu_count": 99}, "serial": {"mode": "file"}}`;
  t.is((await problemsOf(t, json)).length, 2);
  t.deepEqual(await problemsOf(t, json, { overrides: { cpus: '1', serial: 'stdio' } }), []);
});

test('a file that cannot be read or is no text is refused in one line', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'utf16'), Buffer.from('\ufeff{}', 'utf16le'));
  writeFileSync(join(directory, 'bom.json'), `\ufeff{${KERNEL}}`);
  const line = async (file: string) => (await inspectConfig({ file, cwd: directory })).problems.map(problemToLine);
  t.deepEqual(await line('none.json'), ['none.json: there is no such file']);
  t.deepEqual(await line('.'), ['.: is a directory, not a file']);
  t.deepEqual(await line('bom.json/x'), ['bom.json/x: a part of the path is not a directory']);
  t.deepEqual(await line('/dev/zero'), ['/dev/zero: has more than 4 MiB: it is no configuration']);
  t.deepEqual(await line('utf16'), ['utf16: is not a text in UTF-8']);
  t.deepEqual(await line('bom.json'), []);
});

test('where there are problems, what remains is there for further checks', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(
    join(directory, 'vm.json'),
    `{${KERNEL}, "machine-config": {"vcpu_count": 99, "mem_size_mib": 7}, "drives": [{}], "x": 1}`,
  );
  const inspection = await inspectConfig({ file: 'vm.json', cwd: directory, built: everything });
  t.is(inspection.problems.length, 4);
  t.is(inspection.config?.boot.kernelPath, join(directory, 'k'));
  t.is(inspection.config?.machine.memorySize, 7 * 2 ** 20);
  t.is(inspection.config?.machine.vcpuCount, 1);
  const more = await inspection.withMore([{ path: ['boot-source', 'kernel_image_path'], message: 'is strange' }]);
  t.is(problemToLine(more[0]!), 'vm.json:1:39: /boot-source/kernel_image_path: is strange');
  t.is(more.length, 5);
});
