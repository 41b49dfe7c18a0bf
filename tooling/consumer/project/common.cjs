// CommonJS reaches the packages through import(), and since Node 20.19 through require too.
const core = require("@peerbar/core");

async function main() {
  const { P2pdma, generateServer } = await import("@peerbar/p2pdma");
  const { DmaBufError } = await import("@peerbar/core");
  if (core.DmaBufError !== DmaBufError) throw new Error("require and import() give two copies");
  console.log(new P2pdma(generateServer()).decide("1b:00.0", "1d:00.0").mapType);
}

main();
