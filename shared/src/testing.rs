//! What the tests of functions share: a database of their own, and requests as API Gateway sends them.
//!
//! The services come from `cargo local test`. Without them a test fails and says so; none is ever skipped.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a test that cannot go on must stop")]

use std::{collections::HashMap, env, net::Ipv6Addr};

use lambda_http::{
    Body, Request, RequestExt, Response,
    aws_lambda_events::apigw::ApiGatewayV2httpRequestContext,
    http::{StatusCode, header},
    request::RequestContext,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    auth::{
        Caller, TokenIssuer,
        codes::{CodeIssuer, Purpose},
    },
    database::{Database, Parameter},
    domain::{ChatroomId, MessageId, Mobile, SessionId, UserId},
};

/// A new, empty database with the current schema.
pub async fn database() -> Database {
    let template = env::var("DATABASE_URL").expect(
        "DATABASE_URL is missing: run `cargo local test`, or take over the variables of `cargo local services`",
    );
    let (server, template_name) = template.rsplit_once('/').expect("DATABASE_URL ends in a database's name");
    let name = format!("test_{}", SessionId::new().to_string().replace('-', ""));
    let admin = Database::at(&format!("{server}/postgres")).expect("DATABASE_URL is a Postgres URL");
    let create = format!("create database {name} template {template_name}");
    admin.query(&create, &[]).await.expect("the template database can be copied");
    Database::at(&format!("{server}/{name}")).expect("DATABASE_URL is a Postgres URL")
}

/// A number that no other test has.
#[must_use]
pub fn new_mobile() -> Mobile {
    let number = getrandom::u64().expect("there are random numbers") % 10_000_000_000_000;
    Mobile::try_from(format!("+1{number:013}")).expect("it is a number")
}

/// A new user who is signed in.
pub async fn user(database: &Database) -> Caller {
    let caller = Caller { user: UserId::new(), session: SessionId::new() };
    let sql = "with owner as (insert into users (id, mobile) values ($1, $2) returning id)
               insert into sessions (id, user_id) select $3, id from owner";
    let mobile = format!("+{}", caller.user);
    // The foreign key sees the user at the end of the statement.
    database.query(sql, &[&caller.user, &mobile, &caller.session]).await.expect("a user can be stored");
    caller
}

/// A code with which a user confirms what cannot be undone, as the fields of a request.
pub async fn confirmation(database: &Database, caller: Caller) -> Value {
    let row = database.query_one("select mobile from users where id = $1", &[&caller.user]).await;
    let mobile: Mobile = row.expect("the user exists").get(0);
    let issuer = CodeIssuer::from_env().expect("run the tests with `cargo local test`");
    let issued = issuer.issue(Purpose::Confirm, &mobile, &new_address(), None).await.expect("a code");
    json!({ "challenge": issued.challenge, "otp": issued.code.expose_secret() })
}

/// A new chatroom of a user.
pub async fn chatroom(database: &Database, owner: Caller) -> ChatroomId {
    let room = ChatroomId::new();
    let sql = "insert into chatrooms (user_id, id, title) values ($1, $2, 'Test')";
    database.query(sql, &[&owner.user, &room]).await.expect("a chatroom can be stored");
    room
}

/// A message that waits for its reply and counts against the day, as a post leaves it.
pub async fn message(database: &Database, owner: Caller, room: ChatroomId, content: &str) -> MessageId {
    let message = MessageId::new();
    let sql = "
        with turn as (
            update chatrooms set last_position = last_position + 1
            where user_id = $1 and id = $2
            returning last_position
        ), usage as (
            insert into daily_usage (user_id, day, used, accepted, refundable, budget)
            values ($1, (now() at time zone 'utc')::date, 1, 1, 5, 1000000)
            on conflict (user_id, day) do update
            set used = daily_usage.used + 1, accepted = daily_usage.accepted + 1
        )
        insert into messages (user_id, id, chatroom_id, position, content)
        select $1, $3, $2, last_position, $4 from turn";
    database.query(sql, &[&owner.user, &room, &message, &content]).await.expect("a message can be stored");
    message
}

/// Ten thousand users with a little of everything, in tables that statistics are up to date about: so many that
/// Postgres reads them by an index wherever it can.
pub async fn crowd(database: &Database) {
    let fill = "
        do $$ begin
            insert into users (id, mobile)
            select gen_random_uuid(), '+1999' || lpad(n::text, 8, '0') from generate_series(1, 10000) n;
            insert into sessions (id, user_id) select gen_random_uuid(), id from users;
            insert into refresh_tokens (user_id, hash, session_id, expires_at)
            select user_id, sha256(uuid_send(id)), id, now() + interval '30 days' from sessions;
            insert into chatrooms (user_id, id, title, last_position)
            select id, gen_random_uuid(), 'Crowd', 1 from users;
            insert into messages
                (user_id, id, chatroom_id, position, content, idempotency_key, status, settled_at, reply)
            select user_id, gen_random_uuid(), id, 1, 'Hello', id::text, 'answered', now(), 'Hello' from chatrooms;
            insert into streams (user_id, slot, id, message_id, is_working, expires_at)
            select id, 1, gen_random_uuid(), gen_random_uuid(), false, now() from users;
            update users set number_hash = sha256(uuid_send(id));
            insert into daily_usage (user_id, day, used, accepted, refundable, budget)
            select id, (now() at time zone 'utc')::date, 1, 1, 5, 1000000 from users;
            insert into departed_usage (number_hash, day, used, accepted, refunded, tokens)
            select number_hash, (now() at time zone 'utc')::date, 1, 1, 0, 0 from users;
            insert into subscriptions
                (user_id, stripe_customer_id, stripe_subscription_id, status, observed_at, current_period_end)
            select id, 'cus_crowd_' || id, 'sub_crowd_' || id, 'active', now(), now() + interval '1 month' from users;
            insert into stripe_events (id, type, handled_at)
            select 'evt_crowd_' || n, 'invoice.paid', now() from generate_series(1, 10000) n;
        end $$";
    for sql in [fill, "analyze"] {
        database.query(sql, &[]).await.expect("a crowd can be stored");
    }
}

/// How Postgres would execute a statement.
pub async fn plan(database: &Database, sql: &str, parameters: &[&dyn Parameter]) -> String {
    let explain = format!("explain {sql}");
    let lines = database.query(&explain, parameters).await;
    let lines = lines.expect("the statement can be planned");
    let lines: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
    lines.join("\n")
}

/// A request of `caller` with path parameters and a JSON body.
#[must_use]
pub fn request(caller: Caller, path: &[(&str, String)], body: &Value) -> Request {
    let issuer = TokenIssuer::from_env().expect("run the tests with `cargo local test`");
    let token = issuer.issue(caller).expect("a token can be signed");
    let path: HashMap<_, _> = path.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut request = Request::new(Body::Text(body.to_string()));
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, "application/json".parse().expect("a header"));
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().expect("a header"));
    request.with_path_parameters(path)
}

/// An address that no other test sends from.
#[must_use]
pub fn new_address() -> String {
    let network = getrandom::u64().expect("there are random numbers");
    format!("{}", Ipv6Addr::from_bits(u128::from(network) << 64 | 1))
}

/// The same request from a client at an address.
#[must_use]
pub fn sent_from(address: &str, request: Request) -> Request {
    let mut context = ApiGatewayV2httpRequestContext::default();
    context.http.source_ip = Some(address.to_owned());
    request.with_request_context(RequestContext::ApiGatewayV2(context))
}

/// The status and the JSON body of a response.
#[must_use]
pub fn parts(response: &Response<Body>) -> (StatusCode, Value) {
    let body = serde_json::from_slice(response.body().as_ref()).unwrap_or_default();
    (response.status(), body)
}
