// Spotlight's sidecar on the loopback only, which writes every envelope to a file as well.
//
//   node spotlight.mjs MODULES SETTINGS
//
// MODULES is a folder with node_modules in it; SETTINGS a JSON object: host, port, file. Each line
// of the file is one envelope as it came in, decompressed, in base 64.

import { openSync, writeSync } from "node:fs";
import { Server } from "node:net";
import { pathToFileURL } from "node:url";

const [modules, text] = process.argv.slice(2);
const settings = JSON.parse(text);
const main = `${modules}/node_modules/@spotlightjs/spotlight/dist/server/main.js`;
const { setupSpotlight } = await import(pathToFileURL(main).href);

// It has no option for the address, and would listen on all of them.
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, _host, ...rest) {
  return listen.call(this, port, settings.host, ...rest);
};

const file = openSync(settings.file, "a");
const quiet = { info() {}, debug() {}, warn: console.warn, error: console.error };

await setupSpotlight({
  port: settings.port,
  logger: quiet,
  isStandalone: true,
  // Called before the request is answered, so what was acknowledged is in the file.
  incomingPayload: (body) =>
    writeSync(file, `${Buffer.from(body, "binary").toString("base64")}\n`),
});
