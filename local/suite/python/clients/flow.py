"""A conversation through the client that openapi-python-client makes of openapi.yaml.

mypy holds every name that is used here to the contract.
"""

import os

from httpx import Timeout

from chat_client import AuthenticatedClient, Client
from chat_client.api.auth import auth_signup, auth_verify_otp
from chat_client.api.chatroom import chatroom_create, chatroom_get, chatroom_list
from chat_client.api.message import message_get, message_send
from chat_client.models import (
    AcceptedMessage,
    AnsweredMessage,
    Chatroom,
    ChatroomDraft,
    ChatroomGetOrder,
    ChatroomPage,
    ChatroomWithMessages,
    CodeSent,
    Invalid,
    MessageDraft,
    Proof,
    SignedIn,
    Signup,
    WaitingMessage,
)

URL = os.environ["API_URL"]
MOBILE = os.environ["MOBILE"]

# Sign up, and in with the code.
anybody = Client(base_url=URL, timeout=Timeout(30))
sent = auth_signup.sync(client=anybody, body=Signup(mobile=MOBILE, name="Ada"))
assert isinstance(sent, CodeSent) and isinstance(sent.otp, str), sent
proof = Proof(mobile=MOBILE, challenge=sent.challenge, otp=sent.otp)
signed_in = auth_verify_otp.sync(client=anybody, body=proof)
assert isinstance(signed_in, SignedIn), signed_in
assert signed_in.user.mobile == MOBILE
ada = AuthenticatedClient(base_url=URL, token=signed_in.access_token, timeout=Timeout(30))

# Open a chatroom, and post a message: the same one, however often it is sent.
room = chatroom_create.sync(client=ada, body=ChatroomDraft(title="Trip to Lisbon"))
assert isinstance(room, Chatroom), room
draft = MessageDraft(content="Which tram goes to Belém?")
posted = message_send.sync(room.id, client=ada, body=draft, idempotency_key="tram")
repeated = message_send.sync(room.id, client=ada, body=draft, idempotency_key="tram")
assert isinstance(posted, AcceptedMessage), posted
assert posted == repeated

# Wait for the reply.
message = message_get.sync(room.id, posted.id, client=ada, wait=20)
while isinstance(message, WaitingMessage):
    message = message_get.sync(room.id, posted.id, client=ada, wait=20)
assert isinstance(message, AnsweredMessage), message
assert message.reply.content == "echo: Which tram goes to Belém?"

# List the chatrooms, and open this one at its end.
rooms = chatroom_list.sync(client=ada, limit=1)
assert isinstance(rooms, ChatroomPage) and rooms.items[0].id == room.id, rooms
page = chatroom_get.sync(room.id, client=ada, order=ChatroomGetOrder.DESC)
assert isinstance(page, ChatroomWithMessages), page
newest = page.messages[0]
assert isinstance(newest, AnsweredMessage), newest
assert newest.reply.content == message.reply.content
assert page.next_cursor is None

# An error is a problem document, whose type tells which.
refused = chatroom_create.sync(client=ada, body=ChatroomDraft(title=""))
assert isinstance(refused, Invalid), refused
assert refused.errors[0].field == "title"

print(f"the reply is: {message.reply.content}")
