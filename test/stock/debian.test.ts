import { existsSync } from 'node:fs';
import test from 'ava';
import { prepareGuest, prepareStockKernel } from '../../fixtures/prepare.ts';
import { Mvm } from '../helpers/mvm.ts';

// Debian's own kernel for virtual machines, unmodified, as a bzImage. On KVM-PVM its user space cannot run: system calls arrive where
// only our kernel takes them for what they are (see fixtures/kernel). Elsewhere it runs our init to the end.

/** Less to do for a kernel that may be emulated: no self-tests, no watchdogs, no patching of itself. */
const CMDLINE = [
  'console=ttyS0',
  'panic=1',
  'mitigations=off',
  'tsc=reliable',
  'lpj=4200000',
  'nowatchdog',
  'nokaslr',
  'audit=0',
  'apparmor=0',
  'cryptomgr.notests',
  'random.trust_cpu=on',
  'noreplace-smp',
  'rodata=off',
].join(' ');

test("Debian's cloud kernel, unmodified, starts init", async (t) => {
  const stock = await prepareStockKernel();
  const { initrd } = await prepareGuest();
  const options = ['--kernel', stock.kernel, '--initrd', initrd, '--memory', '256M', '--cmdline', CMDLINE];
  await using mvm = new Mvm(['run', ...options]);
  const elapsed = await mvm.waitFor(/Run \/init as init process/);
  t.log(`linux-image-cloud-amd64 ${stock.version}: init after ${(elapsed / 1000).toFixed(0)} s`);
  if (existsSync('/sys/module/kvm_pvm')) return;
  const { code, stdout, stderr } = await mvm.end();
  t.is(code, 0, stderr);
  t.regex(stdout, /^CPUs: 1\r?$/m);
});
