import { at, bytes, s16, struct, u64 } from '../kvm/layout.ts';

/** `struct ifreq` of netdevice(7), <linux/if.h>: a name, and a union of which mvm needs the flags. */
export const ifreq = struct('ifreq', {
  ifr_name: bytes(16),
  ifr_flags: at(16, s16),
  ifr_data: at(16, u64),
  ifr_map: at(16, bytes(24)),
});

/** Requests to a network device, <linux/sockios.h>. */
export const SIOCGIFFLAGS = 0x8913;
export const SIOCSIFFLAGS = 0x8914;
export const IFF_UP = 1;

/** Requests to /dev/net/tun, <linux/if_tun.h>. */
export const TUNSETIFF = 0x4004_54ca;
export const TUNSETOFFLOAD = 0x4004_54d0;
export const TUNSETVNETHDRSZ = 0x4004_54d8;

export const IFF_TAP = 0x0002;
export const IFF_NO_PI = 0x1000;
export const IFF_VNET_HDR = 0x4000;

/** What TUNSETOFFLOAD is given: what we can be handed. */
export const TUN_F_CSUM = 0x01;
export const TUN_F_TSO4 = 0x02;
export const TUN_F_TSO6 = 0x04;
export const TUN_F_TSO_ECN = 0x08;
/** Of Linux 6.2; the kernel takes them together or not at all. */
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;
