/** What the file says about the environment of `run`'s child. */
import type { SidecarConfig } from "../../sidecar/app/config/config.ts";
import type { RouteEnvironment } from "./environment.ts";

export const routeEnvironments = ({ routes }: SidecarConfig): readonly RouteEnvironment[] =>
  routes.map(({ variables, placeholder, patterns }) => ({
    variables,
    placeholder,
    hosts: patterns.flatMap(({ host }) => (host.kind === "exact" ? [host.authority.host.name] : [])),
  }));
