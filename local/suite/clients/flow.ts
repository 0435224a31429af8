// A conversation through the client that openapi-typescript and openapi-fetch make of openapi.yaml. The compiler holds
// every field that is used here to the contract.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

const baseUrl = process.env["API_URL"];
assert(baseUrl, "API_URL is not set");
const mobile = process.env["MOBILE"];
assert(mobile, "MOBILE is not set");

const api = createClient<paths>({ baseUrl });

// Sign up, and in with the code.
const sent = await api.POST("/auth/signup", { body: { mobile, name: "Ada" } });
assert(sent.data?.otp, JSON.stringify(sent.error));
const { challenge, otp } = sent.data;
const signedIn = await api.POST("/auth/verify-otp", { body: { mobile, challenge, otp } });
assert(signedIn.data, JSON.stringify(signedIn.error));
const user: components["schemas"]["User"] = signedIn.data.user;
assert.equal(user.mobile, mobile);
api.use({
  onRequest({ request }) {
    request.headers.set("authorization", `Bearer ${signedIn.data.access_token}`);
  },
});

// Open a chatroom, and post a message: the same one, however often it is sent.
const room = await api.POST("/chatroom", { body: { title: "Trip to Lisbon" } });
assert(room.data, JSON.stringify(room.error));
const params = { path: { id: room.data.id }, header: { "Idempotency-Key": crypto.randomUUID() } };
const body = { content: "Which tram goes to Belém?" };
const posted = await api.POST("/chatroom/{id}/message", { params, body });
const repeated = await api.POST("/chatroom/{id}/message", { params, body });
assert(posted.data, JSON.stringify(posted.error));
assert.deepEqual(repeated.data, posted.data);

// Wait for the reply.
const messagePath = { id: room.data.id, message_id: posted.data.id };
let message: components["schemas"]["Message"];
do {
  const polled = await api.GET("/chatroom/{id}/message/{message_id}", {
    params: { path: messagePath, query: { wait: 20 } },
  });
  assert(polled.data, JSON.stringify(polled.error));
  message = polled.data;
} while (message.status === "queued" || message.status === "answering");
assert(message.status === "answered", JSON.stringify(message));
assert.equal(message.reply.content, "echo: Which tram goes to Belém?");

// List the chatrooms, and open this one at its end.
const rooms = await api.GET("/chatroom", { params: { query: { limit: 1 } } });
assert.equal(rooms.data?.items[0]?.id, room.data.id);
const page = await api.GET("/chatroom/{id}", {
  params: { path: { id: room.data.id }, query: { order: "desc" } },
});
const newest = page.data?.messages[0];
assert(newest?.status === "answered", JSON.stringify(page));
assert.equal(newest.reply.content, message.reply.content);
assert.equal(page.data?.next_cursor, null);

// An error is a problem document, whose type tells which.
const refused = await api.POST("/chatroom", { body: { title: "" } });
assert(refused.error?.type === "/problems/invalid", JSON.stringify(refused));
assert.equal(refused.error.errors[0]?.field, "title");

console.log(`the reply is: ${message.reply.content}`);
