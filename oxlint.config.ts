// Lint: correctness, the layers of tools/layers.ts, and the language that STYLE.md allows. test/house/lint.test.ts shows
// that each rule fires.

import { defineConfig, type OxlintOverride } from "oxlint";
import { impureGlobals, type Layer, layers } from "./tools/layers.ts";

/** Everything not named is forbidden: the parent folder, other layers, Node and packages where the layer is pure. */
function layerRules(layer: Layer): OxlintOverride {
  const allowed = [layer.name, ...layer.from];
  const folders = [...allowed, ...layer.typesFrom].map((name) => `!#${name}/**`);
  const packages = (layer.packages ?? []).map((name) => `!${name}`);
  const strangers = layer.isPure ? ["*"] : ["#*/**", "../**"];
  const patterns = [
    // These come first: oxlint looks no further once an exception (`!`) of a pattern holds.
    ...layer.typesFrom.map((name) => ({
      regex: `^#${name}/`,
      allowTypeImports: true,
      message: `${layer.name} may import only types of #${name}/ (tools/layers.ts).`,
    })),
    {
      group: [...strangers, "!./*", ...folders, ...packages],
      message: `${layer.name} may import ${allowed.map((name) => `#${name}/`).join(", ")} (tools/layers.ts).`,
    },
  ];
  return {
    files: [`src/${layer.name}/**/*.ts`],
    excludeFiles: ["**/*.test.ts"],
    rules: {
      "no-restricted-imports": ["error", { patterns }],
      ...(layer.isPure ? purityRules() : {}),
    },
  };
}

function purityRules(): NonNullable<OxlintOverride["rules"]> {
  const globals = impureGlobals.map(({ name, instead }) => ({
    name,
    message: `Pure code takes ${instead}.`,
  }));
  const random = { object: "Math", property: "random", message: "Pure code takes a Prng." };
  return {
    "no-restricted-globals": ["error", ...globals],
    "no-restricted-properties": ["error", random],
  };
}

// oxlint takes its configuration as a default export; the rule against those is for our own modules.
// oxlint-disable-next-line import/no-default-export
export default defineConfig({
  plugins: ["eslint", "typescript", "unicorn", "oxc", "import"],
  categories: { correctness: "error" },
  ignorePatterns: ["node_modules/**"],
  rules: {
    "import/no-cycle": "error",
    "import/no-default-export": "error",
    "import/no-mutable-exports": "error",
    "oxc/no-barrel-file": ["error", { threshold: 0 }],
    eqeqeq: "error",
    "max-lines-per-function": ["error", { max: 70, skipBlankLines: true, skipComments: true }],
    "max-params": ["error", { max: 4 }],
    "no-var": "error",
    "prefer-const": "error",
    "typescript/consistent-type-imports": [
      "error",
      // `typeof import("x")` names the type of a library that is loaded only when it is needed.
      { fixStyle: "inline-type-imports", disallowTypeAnnotations: false },
    ],
    "typescript/no-explicit-any": "error",
    "typescript/no-floating-promises": [
      "error",
      {
        // A test runner awaits its tests; `test()` is not forgotten work.
        allowForKnownSafeCalls: [
          { from: "package", package: "node:test", name: ["test", "it", "describe", "suite"] },
        ],
      },
    ],
    "typescript/no-misused-promises": "error",
    "typescript/no-non-null-assertion": "error",
    // `default: unreachable(x)` makes the compiler count the cases; a union of a library may have a real default.
    "typescript/switch-exhaustiveness-check": [
      "error",
      { considerDefaultExhaustiveForUnions: true },
    ],
    // Most of our objects are closures, whose functions do not know `this`.
    "typescript/unbound-method": "off",
  },
  overrides: [
    ...layers.map(layerRules),
    // A suite is a list, not a function to be followed.
    { files: ["**/*.test.ts"], rules: { "max-lines-per-function": "off" } },
    // The one door of the library: what `import ... from "antipode"` offers.
    { files: ["src/index.ts"], rules: { "oxc/no-barrel-file": "off" } },
  ],
});
