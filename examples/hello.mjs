import { createHash, createPrivateKey, createPublicKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect, headers } from "@nats-io/transport-node";
import { jetstream } from "@nats-io/jetstream";

const { TRAIL_BROKER, TRAIL_KEY } = process.env; // nats://127.0.0.1:4222, the site's private key (PEM)
const [trial, site, type] = ["NCT06027853", "701", "application/cloudevents+json"];
const key = createPrivateKey(readFileSync(TRAIL_KEY));
const publicKey = Buffer.from(createPublicKey(key).export({ format: "jwk" }).x, "base64url");

const payload = Buffer.from(JSON.stringify({
  specversion: "1.0", id: randomUUID(), source: `site/${site}`, trial, sequence: "1", subject: "701-001",
  type: "trialtrail.screening.registered.v1", time: new Date().toISOString(),
  data: { sex: "female", birth_date: "1961-05-06" },
}));
const marks = headers();
marks.set("Content-Type", type);
marks.set("Trail-Key", createHash("sha256").update(publicKey).digest("hex").slice(0, 32));
marks.set("Trail-Signature", sign(null, // DSSE: the signature covers what kind of thing this is as well
  Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]), key).toString("base64"));

const broker = await connect({ servers: TRAIL_BROKER });
const receipts = broker.subscribe(`receipt.${trial}.site.${site}`, { max: 1, timeout: 10_000 });
await jetstream(broker).publish(`intake.${trial}.site.${site}.screening.registered`, payload, { headers: marks });
for await (const receipt of receipts) console.log(receipt.string()); // a C2SP tlog-proof: keep it
await broker.drain();
