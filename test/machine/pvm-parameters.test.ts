import test from 'ava';
import { pvmParameters } from '../../lib/machine/pvm-parameters.ts';

test('the driver that would hang the guest is left out, and popcnt is hidden', (t) => {
  t.deepEqual(pvmParameters('console=ttyS0'), ['initcall_blacklist=ptp_kvm_init', 'clearcpuid=151']);
});

test('what the user says of CPUID stays', (t) => {
  t.deepEqual(pvmParameters('clearcpuid=smap quiet'), ['initcall_blacklist=ptp_kvm_init']);
  t.deepEqual(pvmParameters('quiet -- clearcpuid=smap'), ['initcall_blacklist=ptp_kvm_init', 'clearcpuid=151']);
});
