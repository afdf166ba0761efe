// A Fluent Forward server that writes every entry to a file, a JSON line each.
//
//   node fluent_server.mjs MODULES SETTINGS
//
// MODULES is a folder with node_modules in it; SETTINGS a JSON object: host, port, file, and
// optionally sharedKey, certificate and key (files).

import { openSync, readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, text] = process.argv.slice(2);
const settings = JSON.parse(text);
const { FluentServer } = createRequire(`${modules}/package.json`)("@fluent-org/logger");

const options = { listenOptions: { host: settings.host, port: settings.port } };
if (settings.sharedKey) {
  // It refuses clients that have its own name, so it does not get this machine's.
  options.security = { serverHostname: "fluent-server", sharedKey: settings.sharedKey };
}
if (settings.certificate) {
  options.tlsOptions = {
    cert: readFileSync(settings.certificate),
    key: readFileSync(settings.key),
  };
}
const server = new FluentServer(options);

// It acknowledges a chunk and then hands its entries on, in one turn of the event loop. Killed in
// between, it would lose what it has acknowledged; no sender can help that. So whatever it says
// waits for the turn's end, when the entries are in the file.
server.server.prependListener(settings.certificate ? "secureConnection" : "connection", (socket) => {
  for (const name of ["write", "end"]) {
    const now = socket[name];
    socket[name] = (...args) => setImmediate(() => now.apply(socket, args));
  }
  socket.on("error", () => {}); // whoever hangs up early must not end the server
});

// JSON has no bytes; they are shown as an object, so that a test sees that they were none as text.
const portable = (_, value) =>
  value instanceof Uint8Array ? { base64: Buffer.from(value).toString("base64") } : value;

const file = openSync(settings.file, "a");
server.on("entry", (tag, time, record) => {
  const at = typeof time === "number" ? { seconds: time } : { seconds: time.epoch, ns: time.nano };
  writeSync(file, `${JSON.stringify({ tag, at, record }, portable)}\n`);
});

await server.listen();
process.stdout.write("listening\n");
process.on("SIGTERM", () => process.exit(0));
