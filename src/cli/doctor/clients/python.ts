/** Python: the standard library, and the three HTTP libraries that most agents use. */
import { type Attempt, type Client, EXIT_ABSENT, IGNORED_PROXY, type Place } from "./client.ts";

/** Looks nothing up: a client that ignores the proxy fails at once, and says so. */
const prologue = ({ host, url }: Place): string => `
import socket, sys
URL = ${JSON.stringify(url)}
look_up = socket.getaddrinfo
def getaddrinfo(name, *rest, **named):
    if (name.decode() if isinstance(name, bytes) else name) == ${JSON.stringify(host)}:
        raise OSError("${IGNORED_PROXY}")
    return look_up(name, *rest, **named)
socket.getaddrinfo = getaddrinfo
def absent():
    sys.exit(${EXIT_ABSENT})
`;

// -B: no bytecode beside what is imported.
const script = (place: Place, body: string): Pick<Attempt, "args"> => ({ args: ["-B", "-c", prologue(place) + body] });

const library = (name: string, body: string, needs?: string): Client => ({
  name,
  program: "python3",
  version: ["--version"],
  attempts: (place) => [{ ...script(place, body), ...(needs !== undefined && { needs }) }],
});

export const urllib = library(
  "python-urllib",
  `
import urllib.request
urllib.request.urlopen(URL, timeout=15).read()
`,
);

export const requests = library(
  "python-requests",
  `
try:
    import requests
except ImportError:
    absent()
print("version", requests.__version__)
requests.get(URL, timeout=15).raise_for_status()
`,
);

export const httpx = library(
  "python-httpx",
  `
try:
    import httpx
except ImportError:
    absent()
print("version", httpx.__version__)
httpx.get(URL, timeout=15).raise_for_status()
`,
);

/** Its session reads no variable unless it is told to. */
export const aiohttp = library(
  "python-aiohttp",
  `
try:
    import aiohttp
except ImportError:
    absent()
import asyncio
print("version", aiohttp.__version__)
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(URL, timeout=aiohttp.ClientTimeout(total=15)) as response:
            response.raise_for_status()
asyncio.run(main())
`,
  "aiohttp.ClientSession(trust_env=True)",
);
