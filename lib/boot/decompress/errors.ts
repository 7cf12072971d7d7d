/** Compressed data that breaks its own format: damaged, truncated, or made to mislead. The message names the format. */
export class CorruptDataError extends Error {
  constructor(format: string, what: string) {
    super(`${format} data is damaged: ${what}`);
    this.name = 'CorruptDataError';
  }
}

/** Compressed data in a format, or with a filter, that mvm has no decoder for. */
export class UnsupportedCompressionError extends Error {
  constructor(what: string) {
    super(`no decoder for ${what}`);
    this.name = 'UnsupportedCompressionError';
  }
}
