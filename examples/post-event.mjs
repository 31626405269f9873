// Posts one event of a site to Trialtrail and waits until it is sealed. Node 20 or newer.
//
//   npm install @nats-io/transport-node @nats-io/jetstream
//   node post-event.mjs screening.observed 701-001 '{"item":"creatinine","value":0.9,"unit":"mg/dL", ...}'
//
// Configured by environment variables; docs/sites.md tells what each step is for:
//   TRAIL_BROKER   nats://127.0.0.1:4222        TRAIL_KEY      the site's private key, Ed25519, PKCS #8 PEM
//   TRAIL_TRIAL    NCT06027853                  TRAIL_LOG_KEY  the log's public key, as the sponsor handed it out
//   TRAIL_SITE     701                          TRAIL_OUTBOX   a directory of this site's own, kept for good

import { createHash, createPrivateKey, createPublicKey, randomBytes, sign, verify } from "node:crypto";
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { connect, headers } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";

const CONTENT_TYPE = "application/cloudevents+json";
const { TRAIL_BROKER, TRAIL_TRIAL, TRAIL_SITE, TRAIL_KEY, TRAIL_LOG_KEY, TRAIL_OUTBOX } = process.env;
const [type, participant, data] = process.argv.slice(2);
const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();

// --- The key -------------------------------------------------------------------------------------------------

const key = createPrivateKey(readFileSync(TRAIL_KEY));
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
  const file = openSync(join(TRAIL_OUTBOX, name), "wx"); // never over an existing one: a number is used once
  writeSync(file, content);
  fsyncSync(file);
  closeSync(file);
}

const numbers = () =>
  readdirSync(TRAIL_OUTBOX)
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
  keep(`${sequence}.event`, JSON.stringify(event).replace('"@"', () => data));
}

// --- The receipt: a proof that the log's signed tree holds this very event (c2sp.org/tlog-proof) ------------------

// Returns the entry's header, which says where the event is sealed and how it was ruled; throws if it proves nothing.
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

mkdirSync(TRAIL_OUTBOX, { recursive: true });
if (type) write((numbers().at(-1) ?? 0) + 1);

const broker = await connect({ servers: TRAIL_BROKER, name: `site ${TRAIL_SITE}`, maxReconnectAttempts: -1 });
// Listen before sending: a receipt that nobody hears is sent again only when the event is.
const receipts = broker.subscribe(`receipt.${TRAIL_TRIAL}.site.${TRAIL_SITE}`);

// Oldest first, and those of earlier runs that have no receipt yet as well: nothing is lost, whatever broke off.
for (const number of numbers().filter((one) => !existsSync(join(TRAIL_OUTBOX, `${one}.receipt`)))) {
  await deliver(number);
}
await broker.drain();

async function deliver(number) {
  const payload = readFileSync(join(TRAIL_OUTBOX, `${number}.event`));
  const event = JSON.parse(payload);
  const send = async () => {
    const marks = headers();
    // A new mark each time. With the old one the broker would swallow the repeat, and no receipt would come; the
    // log itself knows the event again by its bytes.
    marks.set("Nats-Msg-Id", `${event.id}.${Date.now()}`);
    marks.set("Content-Type", CONTENT_TYPE);
    marks.set("Trail-Key", keyId);
    marks.set("Trail-Signature", signature(payload));
    const route = event.type.split(".").slice(1, 3).join(".");
    const subject = `intake.${TRAIL_TRIAL}.site.${TRAIL_SITE}.${route}`;
    await jetstream(broker).publish(subject, payload, {
      headers: marks,
      expect: { streamName: `INTAKE_${TRAIL_TRIAL}` },
    });
  };
  // The broker's acknowledgement is not a record; only the log's receipt is. Until it comes, send again.
  const again = setInterval(() => send().catch(() => {}), 5000);
  await send().catch(() => {});
  for await (const message of receipts) {
    const text = message.string();
    let header;
    try {
      header = openReceipt(text, payload);
    } catch {
      continue; // of another event of this site, or forged: it settles nothing here
    }
    clearInterval(again);
    keep(`${number}.receipt`, text);
    console.log(JSON.stringify({ sequence: number, id: event.id, ...pick(header) }));
    break;
  }
}

function pick({ index, verdict, reason, sealed_at }) {
  return { index, verdict, reason, sealed_at };
}
