/** Set by the build; absent when the sources run as they are. */
declare const MVM_VERSION: string | undefined;

export async function mvmVersion(): Promise<string> {
  if (typeof MVM_VERSION === 'string') return MVM_VERSION;
  const { default: manifest } = await import('../package.json', { with: { type: 'json' } });
  return manifest.version;
}
