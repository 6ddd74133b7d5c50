import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { parsePostgresUrl } from "../../../../../src/vault/storage/postgres/url.ts";
import { afterTest, failureOf } from "../../support.ts";

const CHECKED = { rejectUnauthorized: true, minVersion: "TLSv1.2" };
const PASSWORD = "c4n4ry";

describe("parsePostgresUrl", () => {
  it("takes a host, a port, a user, a password with any signs, and a database", () => {
    expect(
      parsePostgresUrl("postgresql://us%65r:p%40s%2Fs%3A%23@db.test:6000/va%20ult?options=-c%20search_path%3Dx\n"),
    ).toEqual({
      host: "db.test",
      port: 6000,
      user: "user",
      password: "p@s/s:#",
      database: "va ult",
      ssl: CHECKED,
      options: "-c search_path=x",
    });
    expect(parsePostgresUrl("postgres://u@[2001:db8::1]/d")).toMatchObject({
      host: "2001:db8::1",
      port: 5432,
      password: "",
    });
    expect(parsePostgresUrl("postgres://u@localhost/d?host=/run/postgresql")).toMatchObject({
      host: "/run/postgresql",
      ssl: false,
    });
  });

  it.each(["db.test", "10.0.0.1", "127.0.0.1.nip.io", "[2001:db8::1]", "localhost.test"])(
    "uses TLS and checks the certificate towards %s, unless it is told not to",
    (host) => {
      for (const mode of ["", "?sslmode=require", "?sslmode=verify-ca", "?sslmode=verify-full"]) {
        expect(parsePostgresUrl(`postgres://u:p@${host}/d${mode}`).ssl, mode).toEqual(CHECKED);
      }
      expect(parsePostgresUrl(`postgres://u:p@${host}/d?sslmode=disable`).ssl).toBe(false);
    },
  );

  it.each(["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])(
    "needs no TLS towards %s, and uses it when told to",
    (host) => {
      expect(parsePostgresUrl(`postgres://u:p@${host}/d`).ssl).toBe(false);
      expect(parsePostgresUrl(`postgres://u:p@${host}/d?sslmode=require`).ssl).toEqual(CHECKED);
    },
  );

  it("reads the files of an authority and of a certificate of its own", () => {
    const directory = mkdtempSync(join(tmpdir(), "sidekey-url-"));
    afterTest(async () => rmSync(directory, { recursive: true, force: true }));
    const file = join(directory, "a.pem");
    writeFileSync(file, "PEM");
    const { ssl } = parsePostgresUrl(`postgres://u@127.0.0.1/d?sslrootcert=${file}&sslcert=${file}&sslkey=${file}`);
    expect(ssl).toEqual({ ...CHECKED, ca: "PEM", cert: "PEM", key: "PEM" });
  });

  it.each([
    ["", "CONFIG_INVALID"],
    [`${PASSWORD}`, "CONFIG_INVALID"],
    [`https://u:${PASSWORD}@h/d`, "CONFIG_INVALID"],
    [`mysql://u:${PASSWORD}@h/d`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h:port/d`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@/d`, "CONFIG_INVALID"],
    [`postgres://h/d?${PASSWORD}`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d/e`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}%@h/d`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}/x@h/d`, "CONFIG_INVALID"],
    [`postgres://u:p@h/d?${PASSWORD}=1`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d?sslmode=prefer`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d?sslmode=allow`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d?sslmode=no-verify`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d?sslmode=disable&sslrootcert=/x`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d?uselibpqcompat=true`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d?host=other.test`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@localhost/d?host=/run&sslmode=require`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d?sslcert=/dev/null`, "CONFIG_INVALID"],
    [`postgres://u:${PASSWORD}@h/d?sslrootcert=/nowhere/${PASSWORD}`, "CONFIG_UNREADABLE"],
  ])("refuses %s, and shows nothing of it", async (url, code) => {
    const error = await failureOf(() => parsePostgresUrl(url));
    expect(error.code).toBe(code);
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(PASSWORD);
    expect(error.hint).not.toContain(PASSWORD);
  });
});
