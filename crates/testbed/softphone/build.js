// Bundles the page into target/testbed/softphone/ at the root of the checkout.
import { build } from "esbuild";
import { cp, mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const source = (name) => fileURLToPath(new URL(name, import.meta.url));
const target = source("../../../target/testbed/softphone/");

await mkdir(target, { recursive: true });
await build({
    entryPoints: [source("src/page.js")],
    outfile: `${target}softphone.js`,
    bundle: true,
    format: "iife",
    minify: true,
    sourcemap: true,
    target: "es2022",
    // matrix-js-sdk reads Node's name for the global object.
    define: { global: "window" },
    logLevel: "warning",
});
for (const name of ["index.html", "softphone.css"]) {
    await cp(source(name), target + name);
}
