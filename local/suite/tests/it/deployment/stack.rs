//! The deployed stack that the tests share.

use std::sync::LazyLock;

use local_suite::{
    deployment::Deployment,
    harness::{Api, Codes, Stack, User, contract},
};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::stops::id;

/// The deployed stack and its API.
pub struct Deployed {
    runtime: Runtime,
    pub deployment: Deployment,
    pub api: Api,
}

/// It lives as long as this process.
static DEPLOYED: LazyLock<Deployed> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    // Codes arrive by SMS, as in production.
    let parameters = [
        ("OtpDelivery", "sns"),
        ("CodesPerAddressHour", "1000"),
        ("ChatroomCache", "state"), // so that everything is used that a stack may use
    ];
    let services = Stack::services();
    let deployment = Deployment::start(&services, &parameters);
    let deployment = runtime.block_on(deployment).unwrap();
    let api = Api {
        url: deployment.url.clone(),
        client: deployment.client.clone(),
        database_url: deployment.account.database_url.clone(),
        gemini_url: Some(deployment.gemini.url.clone()),
        stripe_url: Some(deployment.stripe.url.clone()),
        codes: Codes::BySms(deployment.account.aws.endpoint.clone()),
        check: contract::check,
    };
    Deployed { runtime, deployment, api }
});

/// Runs a test against the stack.
pub fn run(test: impl AsyncFnOnce(&'static Deployed)) {
    let deployed = &*DEPLOYED;
    deployed.runtime.block_on(test(deployed));
}

/// Accepts a message a minute ago, as if the function had died before it sent the wake-up. Gives the message's path.
pub async fn post_without_wake_up(user: &User<'_>, room: &str, content: &str) -> String {
    const ACCEPT: &str = "
        with room as (
            update chatrooms set last_position = last_position + 1 where id = $1 returning *
        )
        insert into messages (id, chatroom_id, user_id, position, content, created_at)
        select $2, id, user_id, last_position, $3, now() - interval '1 minute' from room";
    let (room_id, message): (Uuid, Uuid) = (id(room).parse().unwrap(), Uuid::now_v7());
    let database = user.api.database().await;
    let accepted = database.execute(ACCEPT, &[&room_id, &message, &content]).await;
    assert_eq!(accepted.unwrap(), 1);
    format!("{room}/message/{message}")
}
