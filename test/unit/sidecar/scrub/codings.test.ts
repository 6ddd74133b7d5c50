import { describe, expect, it } from "vitest";
import { parseCodings } from "../../../../src/sidecar/scrub/codings.ts";

describe("Content-Encoding", () => {
  it("is taken off in the opposite order", () => {
    expect(parseCodings("gzip, br")).toEqual(["br", "gzip"]);
    expect(parseCodings(" X-GZip ,, Deflate,identity")).toEqual(["deflate", "gzip"]);
  });

  it("is none where it says none", () => {
    expect(parseCodings("identity")).toEqual([]);
    expect(parseCodings("")).toEqual([]);
  });

  it.each(["zstd", "compress", "gzip, aws-chunked", "gzip;q=1", "x-foo", "br br", "gzip,gzip,gzip,gzip"])(
    "is refused when it says %j",
    (value) => {
      expect(parseCodings(value)).toBeUndefined();
    },
  );
});
