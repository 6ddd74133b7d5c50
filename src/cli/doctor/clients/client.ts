/** A client runtime as `doctor` tries it: how it is found, and the calls that are made with it. */

export interface Client {
  /** As `--client` names it. */
  readonly name: string;
  /** Looked for in PATH; absent = the client is not here. */
  readonly program: string;
  /** Arguments that print its version, whatever they print besides. */
  readonly version: readonly string[];
  /** In the order they are tried; the first that works counts. */
  attempts(place: Place): readonly Attempt[];
  /** How long one attempt may take. `ms`, default 20 s. */
  readonly timeoutMs?: number;
  /** Has to be built first, so that no answer in time says nothing. */
  readonly isBuilt?: true;
}

/** What a call is made with. */
export interface Place {
  /** To be fetched: `https://HOST/NAME`. */
  readonly url: string;
  /** Of the stand-in: no name that anybody could look up. */
  readonly host: string;
  readonly proxy: { readonly host: string; readonly port: number };
  /** Files that the client is to trust. */
  readonly ca: string;
  readonly bundle: string;
  /** For what a call has to write; gone afterwards. */
  readonly scratch: string;
  /** Where the person is. */
  readonly directory: string;
}

export interface Attempt {
  /** What has to be set for it, beside what `run` sets; absent = nothing. */
  readonly needs?: string;
  readonly args: readonly string[];
  /** Another program than the client's own, such as a tool that has to run first. */
  readonly program?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Files to be there, by name in `scratch`. */
  readonly files?: Readonly<Record<string, string>>;
  /** Runs before, to its end; when it fails, so does the attempt. */
  readonly before?: { readonly program: string; readonly args: readonly string[] };
}

/** Printed by a probe whose client was about to look up the host itself. */
export const IGNORED_PROXY = "SIDEKEY_PROXY_IGNORED";
/** Exit code of a probe whose library is not installed. */
export const EXIT_ABSENT = 77;
