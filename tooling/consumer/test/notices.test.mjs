import { noticesText, parseNotices } from "@peerbar/tsup-config/notices";
import { expect, test } from "vitest";
import { missing, packagesInMap } from "../src/notices.mjs";

const text = "Permission is granted. ".repeat(20).trim();
const one = { name: "@a/one", version: "1.2.3", license: "MIT", text };
const two = { name: "two", version: "0.1.0-rc.1", license: "(MIT OR Apache-2.0)", text };

test("notices read back as they were written", () => {
  expect(parseNotices(`Intro.\n\n${noticesText([one, two])}`)).toEqual([one, two]);
});

test("packages are found in a source map, the innermost of nested ones, and sources of the workspace are not", () => {
  const sources = [
    "../../../node_modules/.pnpm/@a+one@1.2.3/node_modules/@a/one/src/x.js",
    "../../../node_modules/two/index.js",
    "../../../node_modules/two/lib/node_modules/three/index.js",
    "../../../packages/core/src/index.ts",
  ];
  expect(packagesInMap(JSON.stringify({ sources }))).toEqual(["@a/one", "two", "three"]);
});

test("a package without a notice, and one whose licence is empty, are missing", () => {
  const notices = noticesText([one, { ...two, text: "" }]);
  expect(missing(["@a/one", "two", "three"], notices)).toEqual(["two", "three"]);
});
