import type { LinkInfo } from "@peerbar/p2pdma";

/** `32x16`, or `16x8/32x16` where the link runs below what the device can; parts that are not shown are left out. */
export function linkShort(link: LinkInfo | undefined): string {
  if (link === undefined) return "";
  const now = pair(link.speed, link.width);
  const best = pair(link.maxSpeed, link.maxWidth);
  if (now === "") return best === "" ? "" : `?/${best}`;
  return best === "" || best === now ? now : `${now}/${best}`;
}

function pair(speed: number | undefined, width: number | undefined): string {
  if (speed === undefined && width === undefined) return "";
  return `${speed === undefined ? "?" : String(speed)}x${width === undefined ? "?" : String(width)}`;
}
