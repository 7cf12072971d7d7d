/** The native routines: one assembly file each, in the order in which they are laid out. */
export const ROUTINES = ['vcpu', 'calls', 'wait', 'cas16', 'signal', 'jail', 'confine', 'violation'] as const;
export type Routine = (typeof ROUTINES)[number];

/** All that is assembled: the routines, and the module that JavaScript calls them through. */
export const PARTS = [...ROUTINES, 'module'] as const;
export type Part = (typeof PARTS)[number];
