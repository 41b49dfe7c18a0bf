import { parseCapture } from "@peerbar/p2pdma";
import { render } from "preact";
import type { ReportData } from "../data.js";
import { App } from "./app.js";

function content(id: string): string {
  return document.getElementById(id)?.textContent ?? "";
}

const root = document.getElementById("app");
if (root !== null) {
  const data = JSON.parse(content("report")) as ReportData;
  root.replaceChildren();
  render(<App topology={parseCapture(content("capture"), "capture")} data={data} />, root);
}
