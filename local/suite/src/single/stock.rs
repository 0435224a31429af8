//! Fills a database: large tables, and users with data of their own.

use anyhow::{Result, anyhow};
use shared::{
    auth::{Caller, TokenIssuer, sessions::RefreshToken},
    database::Database,
    domain::{ChatroomId, MessageId, SessionId, UserId},
    testing,
};
use tokio_postgres::Client;

use local_stack::services::postgres::connect;

/// The number of messages in a small room, which fill the history that is sent with a prompt, and in an ordinary one.
pub const FEW_MESSAGES: i32 = 10;
const MESSAGES: i32 = 1_000;

/// The number of rooms of a user: more than the list's largest page.
const ROOMS: i32 = 200;

const USER: &str = "
    with owner as (insert into users (id, mobile, name, password_hash) values ($1, $2, 'Ada', $3))
    insert into sessions (id, user_id) values ($4, $1)";

const ADD_ROOMS: &str = "
    insert into chatrooms (user_id, id, title, active_at)
    select $1, gen_random_uuid(), 'Room ' || n, now() - n * interval '1 minute' from generate_series(1, $2::int) n";

/// A room with settled messages.
const ROOM: &str = "
    with room as (
        insert into chatrooms (id, user_id, title, last_position) values ($1, $2, 'Room', $3::int)
    )
    insert into messages (id, chatroom_id, user_id, position, content, status, created_at, settled_at, reply,
                          finish_reason, model, prompt_tokens, reply_tokens)
    select gen_random_uuid(), $1, $2, n, (select string_agg(md5(n::text || part), ' ') from generate_series(1, 6) part),
           'answered', now(), now(), (select string_agg(md5(part::text || n), ' ') from generate_series(1, 90) part),
           'STOP', 'gemini', 100, 700
    from generate_series(1, $3::int) n";

const QUEUED: &str = "
    with room as (
        update chatrooms set last_position = last_position + 1 where user_id = $3 and id = $2 returning last_position
    )
    insert into messages (id, chatroom_id, user_id, position, content)
    select $1, $2, $3, last_position, 'Which tram goes to Belém?' from room";

/// A database with data, and users who may sign in.
pub struct Stock {
    client: Client,
    issuer: TokenIssuer,
    /// The owner of the rooms.
    pub owner: Caller,
    /// An ordinary room.
    pub room: ChatroomId,
}

impl Stock {
    /// Fills an empty database.
    pub async fn lay(url: &str, private_key: &str) -> Result<Self> {
        let client = connect(url).await?;
        let database = Database::at(url).map_err(|error| anyhow!("{error}"))?;
        testing::crowd(&database).await; // no table is so small that reading all of it would be quick
        let issuer = TokenIssuer::with_key(private_key).map_err(|error| anyhow!("{error}"))?;
        let owner = new_user(&client, "+15550100001", None).await?;
        client.execute(ADD_ROOMS, &[&owner.user, &ROOMS]).await?;
        let room = ChatroomId::new();
        client.execute(ROOM, &[&room, &owner.user, &MESSAGES]).await?;
        client.batch_execute("vacuum analyze").await?;
        Ok(Self { client, issuer, owner, room })
    }

    /// Adds a user who is signed in.
    pub async fn user(&self, mobile: &str, password_hash: Option<&str>) -> Result<Caller> {
        new_user(&self.client, mobile, password_hash).await
    }

    /// Adds a room of the owner, with a few settled messages.
    pub async fn new_room(&self) -> Result<ChatroomId> {
        let room = ChatroomId::new();
        self.client.execute(ROOM, &[&room, &self.owner.user, &FEW_MESSAGES]).await?;
        Ok(room)
    }

    /// Adds a message of the owner that waits for its reply.
    pub async fn queue(&self, room: ChatroomId) -> Result<()> {
        self.client.execute(QUEUED, &[&MessageId::new(), &room, &self.owner.user]).await?;
        Ok(())
    }

    /// Removes the messages that wait for a reply, lest whoever answers next finds them.
    pub async fn clear_queued(&self) -> Result<()> {
        let sql = "delete from messages where status = 'queued'";
        self.client.execute(sql, &[]).await?;
        self.client.batch_execute("vacuum analyze messages").await?;
        Ok(())
    }

    /// Returns the newest message of a room that has its reply.
    pub async fn newest(&self, room: ChatroomId) -> Result<MessageId> {
        let sql = "select id from messages where user_id = $1 and chatroom_id = $2 and status = 'answered'
                   order by position desc limit 1";
        Ok(self.client.query_one(sql, &[&self.owner.user, &room]).await?.get(0))
    }

    /// Adds a token that a user may refresh with.
    pub async fn refresh_token(&self, caller: Caller) -> Result<String> {
        let token = RefreshToken::new().map_err(|error| anyhow!("{error}"))?;
        let sql = "insert into refresh_tokens (user_id, hash, session_id, expires_at)
                   values ($1, $2, $3, now() + interval '1 day')";
        self.client.execute(sql, &[&caller.user, &token.hash(), &caller.session]).await?;
        Ok(token.text(caller.user))
    }

    /// Makes a user a customer of Stripe's.
    pub async fn customer(&self, user: UserId, customer: &str) -> Result<()> {
        let sql = "insert into subscriptions (user_id, stripe_customer_id) values ($1, $2)";
        self.client.execute(sql, &[&user, &customer]).await?;
        Ok(())
    }

    /// Makes the header of a user who is signed in.
    pub fn authorization(&self, caller: Caller) -> Result<String> {
        let token = self.issuer.issue(caller).map_err(|error| anyhow!("{error}"))?;
        Ok(format!("Bearer {token}"))
    }
}

async fn new_user(client: &Client, mobile: &str, password_hash: Option<&str>) -> Result<Caller> {
    let caller = Caller { user: UserId::new(), session: SessionId::new() };
    // The foreign key sees the user at the end of the statement.
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&caller.user, &mobile, &password_hash, &caller.session];
    client.execute(USER, &parameters).await?;
    Ok(caller)
}
