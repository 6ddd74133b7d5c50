/** The clients that `doctor` knows, in the order it shows them. One more is one constant and one line here. */
import type { Client } from "./client.ts";
import { curl, git, wget } from "./commands.ts";
import { go, java } from "./compiled.ts";
import { axios, nodeFetch } from "./node.ts";
import { aiohttp, httpx, requests, urllib } from "./python.ts";

export const CLIENTS: readonly Client[] = [
  curl,
  wget,
  git,
  urllib,
  requests,
  httpx,
  aiohttp,
  nodeFetch,
  axios,
  go,
  java,
];
