/** Limits that more than one part of the sidecar keeps. */

/** Of a request's target, as the agent sent it and as it leaves. `bytes` */
export const MAX_TARGET = 16 * 1024;
