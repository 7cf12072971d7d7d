import type { RunOptions } from './mvm.ts';

/** A /dev that has what programs need, and no kvm; for a mount namespace of one's own. */
export const WITHOUT_KVM = `
old=$(mktemp -d)
mount --rbind /dev "$old"
mount -t tmpfs tmpfs /dev
for node in null zero full random urandom tty; do
  : > "/dev/$node"
  mount --bind "$old/$node" "/dev/$node"
done
ln -s /proc/self/fd /dev/fd
umount -l "$old"
rmdir "$old"
`;

/** A /dev/kvm on a mount that allows no devices: opening it is EACCES, to root as well. */
const KVM_ON_NODEV = `
mount --bind /dev/kvm /dev/kvm
mount -o remount,bind,nodev /dev/kvm
`;

/** nobody, everywhere. */
const NOBODY = 65534;

/** What keeps mvm from opening /dev/kvm: root becomes another user; who is not root cannot, and gets another mount. */
export function withoutPermission(): RunOptions {
  return process.getuid?.() === 0 ? { uid: NOBODY } : { inNamespace: KVM_ON_NODEV };
}
