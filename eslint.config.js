import { nodeSources, rooms } from "@peerbar/rooms";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

const nodeModules = {
  group: ["node:*", "fs", "path", "os", "child_process"],
  message: "this room runs in a browser too",
};

/** One block a room: its sources may import what the table names, and nothing of Node outside its Node subpath. */
const arrows = Object.entries(rooms).flatMap(([room, mayImport]) => {
  const strangers = {
    group: [
      "@peerbar/*",
      ...mayImport.flatMap((name) => [`!@peerbar/${name}`, `!@peerbar/${name}/**`]),
    ],
    message: `${room} may import ${mayImport.join(", ") || "no other room"} (tooling/rooms)`,
  };
  const foreignNode = { group: ["@peerbar/*/node"], message: "this room runs in a browser too" };
  const node = nodeSources.filter((path) => path.startsWith(`${room}/`));
  return [
    {
      files: [`packages/${room}/src/**/*.ts`],
      rules: {
        "no-restricted-imports": ["error", { patterns: [strangers, foreignNode, nodeModules] }],
      },
    },
    ...node.map((path) => ({
      files: [`packages/${path}`, `packages/${path}/**/*.ts`],
      rules: { "no-restricted-imports": ["error", { patterns: [strangers] }] },
    })),
  ];
});

export default defineConfig(
  globalIgnores([
    "**/dist/**",
    "**/coverage/**",
    "docs/api/**",
    "**/test/fixtures/generated/**",
    // Checked as the projects that are made of them (tooling/consumer), and as the sources that they are copies of.
    "apps/cli/templates/**",
    // Compiled, strictly, in the folders that it is copied to.
    "tooling/consumer/project/**",
  ]),
  {
    files: ["**/*.ts", "**/*.tsx"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: {
        projectService: {
          allowDefaultProject: ["vitest.config.ts", "tooling/{tsup,vitest}-config/*.ts"],
        },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "max-lines": ["warn", { max: 400, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    // Their own tsconfig is for those who copy them; here they read the workspace's sources.
    files: ["examples/**/*.ts"],
    languageOptions: {
      parserOptions: { projectService: false, project: "tooling/tsconfig/examples.json" },
    },
  },
  {
    // A suite's list of cases is long and flat.
    files: ["**/test/**/*.ts", "packages/conformance/src/**/*.ts"],
    rules: {
      "max-lines": "off",
      // expect(() => lock.release()) reads better than braces.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
    },
  },
  {
    // The page runs in a browser: pure rooms only.
    files: ["apps/report/src/**/*.{ts,tsx}"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          patterns: [
            { group: ["@peerbar/*/node"], message: "this room runs in a browser too" },
            nodeModules,
          ],
        },
      ],
    },
  },
  {
    // V8 makes such closures old at once: what they hold, a whole run or machine, outlives every young collection.
    files: ["packages/*/src/**/*.ts"],
    rules: {
      "no-restricted-syntax": [
        "error",
        {
          selector:
            "AssignmentExpression[left.type='MemberExpression'] > :matches(ArrowFunctionExpression, FunctionExpression).right",
          message: "give the function a name first: see docs/performance.md, Explorer",
        },
        {
          selector: "ObjectExpression > Property[kind='get']",
          message:
            "a getter of a class is free, this one is not: see docs/performance.md, Explorer",
        },
      ],
    },
  },
  ...arrows,
);
