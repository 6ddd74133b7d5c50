/** A secret as part of a path. What comes out still has to be judged as a whole: it may hold a dot segment. */
import { percentEncode } from "../../core/percent.ts";

/** RFC 3986 section 3.3 less `;`, which servers cut parameters off at. */
const SEGMENT_MARKS = "-._~!$&'()*+,=:@";

/** `segments`: a `/` stays one, for a secret that is several segments. */
export const pathEncode = (bytes: Uint8Array, as: "segment" | "segments"): string =>
  percentEncode(bytes, as === "segment" ? SEGMENT_MARKS : `${SEGMENT_MARKS}/`);
