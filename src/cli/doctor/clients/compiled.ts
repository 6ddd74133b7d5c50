/** Runtimes whose call has to be compiled first: Go, Java. */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Client, Place } from "./client.ts";

const GO_PROGRAM = `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer response.Body.Close()
	if _, err = io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != 200 {
		fmt.Fprintln(os.Stderr, response.Status, err)
		os.Exit(1)
	}
}
`;

/** Where Go keeps what it has built (cmd/go, "Build and test caching"). */
const goCache = (): string =>
  process.env["GOCACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "go-build");

/** In the person's own build cache where there is one: without, net/http alone takes a minute, and leaves 90 MB. */
export const go: Client = {
  name: "go",
  program: "go",
  version: ["version"],
  timeoutMs: 90_000,
  isBuilt: true,
  attempts: ({ url, scratch }) => [
    {
      args: ["run", "probe.go", url],
      files: { "probe.go": GO_PROGRAM },
      environment: {
        GOTOOLCHAIN: "local",
        GOFLAGS: "-mod=mod",
        GOTMPDIR: scratch,
        ...(!existsSync(goCache()) && { GOCACHE: join(scratch, "go-build") }),
      },
    },
  ],
};

const JAVA_PROGRAM = `import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

public class Probe {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        try {
            var response = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
            if (response.statusCode() != 200) System.exit(1);
        } catch (Exception failure) {
            for (Throwable at = failure; at != null; at = at.getCause()) System.err.println(at);
            System.exit(1);
        }
    }
}
`;

/** It reads neither the proxy nor a CA from variables, but for JAVA_TOOL_OPTIONS. */
export const java: Client = {
  name: "java",
  program: "java",
  version: ["-version"],
  timeoutMs: 45_000,
  isBuilt: true,
  attempts({ url, proxy, ca, scratch }: Place) {
    const store = join(scratch, "trust.p12");
    // No file of the virtual machine in /tmp, and no look-up of the name: this list of hosts is empty.
    const args = ["-XX:-UsePerfData", "-Djdk.net.hosts.file=hosts", "Probe.java", url];
    const files = { "Probe.java": JAVA_PROGRAM, hosts: "" };
    const keytool = ["-importcert", "-noprompt", "-alias", "sidekey", "-file", ca, "-storepass", "changeit"];
    const options = (file: string, host: string, port: string): string =>
      `-Dhttps.proxyHost=${host} -Dhttps.proxyPort=${port} -Djavax.net.ssl.trustStore=${file} -Djavax.net.ssl.trustStorePassword=changeit`;
    return [
      { args, files },
      {
        needs:
          `JAVA_TOOL_OPTIONS="${options("FILE", "127.0.0.1", "PORT")}" with the proxy's port, and FILE made by: ` +
          "keytool -importcert -noprompt -alias sidekey -file ca.pem -storepass changeit -storetype PKCS12 -keystore FILE",
        args,
        files,
        environment: { JAVA_TOOL_OPTIONS: options(store, proxy.host, String(proxy.port)) },
        before: { program: "keytool", args: [...keytool, "-storetype", "PKCS12", "-keystore", store] },
      },
    ];
  },
};
