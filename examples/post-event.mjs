// Posts one event of a site to Trialtrail and waits until it is sealed. Node 20 or newer.
//
//   npm install @nats-io/transport-node @nats-io/jetstream
//   node post-event.mjs screening.observed 701-001 '{"item":"creatinine","value":0.9,"unit":"mg/dL", ...}'
//
// Configured by environment variables; docs/sites.md tells what each step is for:
//   TRAIL_BROKER   nats://127.0.0.1:4222        TRAIL_KEY      the site's private key, Ed25519, PKCS #8 PEM
//   TRAIL_TRIAL    NCT06027853                  TRAIL_LOG_KEY  the log's public key, as the sponsor handed it out
//   TRAIL_SITE     701                          TRAIL_OUTBOX   a directory of this site's own, kept for good
// and where the broker tells its users apart:
//   TRAIL_BROKER_KEY  the site's NATS seed      TRAIL_BROKER_CA  the certificate of the broker's authority, ca.pem

import { createHash, createPrivateKey, createPublicKey, randomBytes, sign, verify } from "node:crypto";
import fs from "node:fs";
import { join } from "node:path";
import { connect, headers, nkeyAuthenticator } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";

const CONTENT_TYPE = "application/cloudevents+json";
const { TRAIL_BROKER, TRAIL_TRIAL, TRAIL_SITE, TRAIL_KEY, TRAIL_LOG_KEY, TRAIL_OUTBOX } = process.env;
const { TRAIL_BROKER_KEY, TRAIL_BROKER_CA } = process.env;
const [type, participant, data] = process.argv.slice(2);
const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();

// --- The key -------------------------------------------------------------------------------------------------

const key = createPrivateKey(fs.readFileSync(TRAIL_KEY));
const publicKey = Buffer.from(createPublicKey(key).export({ format: "jwk" }).x, "base64url"); // 32 raw bytes
const keyId = sha256(publicKey).subarray(0, 16).toString("hex");

// What is signed is never the bare event: DSSE's pre-authentication encoding says what kind of thing it is.
function signature(payload) {
  const pae = Buffer.concat([
    Buffer.from(`DSSEv1 ${CONTENT_TYPE.length} ${CONTENT_TYPE} ${payload.length} `),
    payload,
  ]);
  return sign(null, pae, key).toString("base64");
}

// --- The outbox: <sequence>.event as it was signed, <sequence>.receipt once the log has sealed it ----------------

function keep(name, content) {
  const file = fs.openSync(join(TRAIL_OUTBOX, name), "wx"); // never over an existing one: a number is used once
  fs.writeSync(file, content);
  fs.fsyncSync(file);
  fs.closeSync(file);
}

const numbers = () =>
  fs.readdirSync(TRAIL_OUTBOX)
    .filter((name) => name.endsWith(".event"))
    .map((name) => parseInt(name))
    .sort((a, b) => a - b);

function uuid7() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function write(sequence) {
  JSON.parse(data); // throws here, before a number is used up
  const event = {
    specversion: "1.0",
    id: uuid7(),
    source: `site/${TRAIL_SITE}`,
    type: `trialtrail.${type}.v1`,
    subject: participant,
    time: new Date().toISOString(),
    sequence: String(sequence),
    trial: TRAIL_TRIAL,
    data: "@",
  };
  // The data as it was given, not parsed and printed again: 1.10 stays 1.10.
  const payload = Buffer.from(JSON.stringify(event).replace('"@"', () => data));
  if (payload.length > 60_000) throw new Error(`the event is ${payload.length} bytes long; send it in parts`);
  keep(`${sequence}.event`, payload);
}

// --- The receipt: a proof that the log's signed tree holds this very event (c2sp.org/tlog-proof) ----------------

// Returns the entry's header, which says where the event is sealed and how it was ruled; throws if it proves none.
function openReceipt(text, payload) {
  const split = text.indexOf("\n\n");
  const [, extra, , ...path] = text.slice(0, split).split("\n");
  const header = Buffer.from(extra.replace("extra ", ""), "base64");
  const [size, root] = openCheckpoint(text.slice(split + 2));
  const { index } = JSON.parse(header);
  let node = sha256(Buffer.from([0]), header, Buffer.from("\n"), payload); // RFC 9162, section 2.1.1
  let [at, last] = [index, size - 1];
  while (last > 0) {
    if (at % 2 === 1 || at < last) {
      const sibling = Buffer.from(path.shift() ?? "", "base64");
      node = at % 2 === 1 ? sha256(Buffer.from([1]), sibling, node) : sha256(Buffer.from([1]), node, sibling);
    }
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  if (index >= size || path.length > 0 || !node.equals(root)) throw new Error("the receipt proves nothing");
  return JSON.parse(header);
}

// Size and root of a tree that the log has signed (c2sp.org/tlog-checkpoint).
function openCheckpoint(note) {
  const [origin, hint, ...rest] = TRAIL_LOG_KEY.split("+");
  const raw = Buffer.from(rest.join("+"), "base64").subarray(1);
  const logKey = createPublicKey({
    key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") },
    format: "jwk",
  });
  const split = note.lastIndexOf("\n\n");
  const signed = note.slice(0, split + 1);
  const holds = note
    .slice(split + 2)
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([, name, value]) => name === origin && Buffer.from(value, "base64").toString("hex", 0, 4) === hint)
    .some(([, , value]) => verify(null, Buffer.from(signed), logKey, Buffer.from(value, "base64").subarray(4)));
  const [name, size, root] = signed.split("\n");
  if (!holds || name !== origin) throw new Error("the receipt is not signed by the log");
  return [Number(size), Buffer.from(root, "base64")];
}

// --- Posting ---------------------------------------------------------------------------------------------------

fs.mkdirSync(TRAIL_OUTBOX, { recursive: true });
if (type) write((numbers().at(-1) ?? 0) + 1);

// Events of earlier runs that have no receipt yet as well: nothing is lost, whatever broke off.
const waiting = new Map(
  numbers()
    .filter((number) => !fs.existsSync(join(TRAIL_OUTBOX, `${number}.receipt`)))
    .map((number) => [number, fs.readFileSync(join(TRAIL_OUTBOX, `${number}.event`))]),
);
let wake = () => {};

function settle(text) {
  for (const [number, payload] of waiting) {
    let header;
    try {
      header = openReceipt(text, payload);
    } catch {
      continue; // of another event of this site, or forged: it settles nothing here
    }
    keep(`${number}.receipt`, text);
    waiting.delete(number);
    const { index, verdict, reason, sealed_at } = header;
    console.log(JSON.stringify({ sequence: number, index, verdict, reason, sealed_at }));
    if (verdict === "refused") process.exitCode = 1;
  }
  if (waiting.size === 0) wake();
}

async function send(payload, attempt) {
  const { id, type: name } = JSON.parse(payload);
  const marks = headers();
  // The broker swallows a repeat of the same mark for two minutes, and with it the wish for a receipt that got
  // lost; the log knows a repeated event by its bytes.
  marks.set("Nats-Msg-Id", attempt === 1 ? id : `${id}.${attempt}`);
  marks.set("Content-Type", CONTENT_TYPE);
  marks.set("Trail-Key", keyId);
  marks.set("Trail-Signature", signature(payload));
  const route = name.split(".").slice(1, 3).join(".");
  const subject = `intake.${TRAIL_TRIAL}.site.${TRAIL_SITE}.${route}`;
  const expect = { streamName: `INTAKE_${TRAIL_TRIAL}` };
  await jetstream(broker).publish(subject, payload, { headers: marks, expect });
}

// The key for the broker is another one than the key that signs: the broker chooses what it has signed to let us in.
const access = TRAIL_BROKER_KEY && {
  authenticator: nkeyAuthenticator(Buffer.from(fs.readFileSync(TRAIL_BROKER_KEY, "utf8").trim())),
  tls: { caFile: TRAIL_BROKER_CA, handshakeFirst: true },
};
const broker = await connect({
  servers: TRAIL_BROKER,
  name: `site ${TRAIL_SITE}`,
  maxReconnectAttempts: -1,
  ...access,
});
// Listen before sending: the receipt comes once for each time that the event is sent.
const heard = (_error, message) => settle(message.string());
broker.subscribe(`receipt.${TRAIL_TRIAL}.site.${TRAIL_SITE}`, { callback: heard });

// The broker's acknowledgement is not a record; only the log's receipt is. Until it comes, send again, in order.
for (let attempt = 1; waiting.size > 0; attempt += 1) {
  for (const payload of [...waiting.values()]) {
    await send(payload, attempt).catch((error) => console.error(`not sent, will be tried again: ${error.message}`));
  }
  await new Promise((resolve) => {
    wake = resolve;
    if (waiting.size === 0) resolve();
    setTimeout(resolve, 5000).unref();
  });
}
await broker.drain();
