/** The command by which mvm starts itself in a jail. It is no command for people: see `mvm run --jail`. */
export const JAILED = '__jailed';
