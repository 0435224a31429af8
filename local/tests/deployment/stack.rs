//! The deployed stack that the tests share, and how they talk to it.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use local::{deployment::Deployment, harness::contract::Contract, services::Services};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep},
};
use uuid::Uuid;

/// Longer than the schedule's minute, and what follows from it.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// The deployed stack.
pub struct Stack {
    runtime: Runtime,
    pub deployment: Deployment,
    contract: Contract,
}

/// It lives as long as this process.
static STACK: LazyLock<Stack> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let deployment = runtime.block_on(async {
        let services = Services::from_env()?;
        // Codes arrive by SMS, as in production.
        let parameters = ["OtpDelivery=sns", "CodesPerAddressHour=1000"];
        Deployment::start(&services, &parameters).await
    });
    Stack {
        runtime,
        deployment: deployment.unwrap(),
        contract: Contract::load().unwrap(),
    }
});

/// Runs a test against the stack.
pub fn run(test: impl AsyncFnOnce(&'static Stack)) {
    let stack = &*STACK;
    stack.runtime.block_on(test(stack));
}

/// Waits for something, however long the schedule needs.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Somebody who is signed in.
pub struct User {
    stack: &'static Stack,
    pub mobile: String,
    pub session: Value,
}

impl User {
    /// Signs up a new number with the code that its phone got.
    pub async fn sign_up(stack: &'static Stack) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut user = Self {
            stack,
            mobile: format!("+1555{number:07}"),
            session: Value::Null,
        };
        let signup = json!({ "mobile": user.mobile, "name": "Ada" });
        user.call(Method::POST, "/auth/signup", signup, 202).await;
        user.verify().await;
        user
    }

    /// Signs in with the newest code.
    pub async fn verify(&mut self) {
        let verify = json!({ "mobile": self.mobile, "otp": self.code().await });
        self.session = self
            .call(Method::POST, "/auth/verify-otp", verify, 200)
            .await;
    }

    /// The newest code that the phone got.
    pub async fn code(&self) -> String {
        let Deployment { client, aws, .. } = &self.stack.deployment;
        let url = format!("{}/_ministack/sns/sms-messages", aws.endpoint);
        let answer = client.get(url).send().await.unwrap();
        let all: Value = answer.json().await.unwrap();
        let newest = all["sms_messages"][&self.mobile].as_array().unwrap().last();
        let text = newest.unwrap()["Message"].as_str().unwrap();
        text.chars().filter(char::is_ascii_digit).take(6).collect()
    }

    /// Opens a chatroom and gives its id.
    pub async fn open_room(&self) -> String {
        let room = json!({ "title": "Lisbon" });
        let room = self.call(Method::POST, "/chatroom", room, 201).await;
        room["id"].as_str().unwrap().to_owned()
    }

    /// Posts a message.
    pub async fn post(&self, room: &str, content: &str) -> Value {
        let path = format!("/chatroom/{room}/message");
        self.call(Method::POST, &path, json!({ "content": content }), 202)
            .await
    }

    /// Accepts a message a minute ago, as if the function had died before it sent the wake-up. Gives its id.
    pub async fn post_without_wake_up(&self, room: &str, content: &str) -> Value {
        const ACCEPT: &str = "
            with room as (
                update chatrooms set last_position = last_position + 1 where id = $1 returning *
            )
            insert into messages (id, chatroom_id, user_id, position, content, created_at)
            select $2, id, user_id, last_position, $3, now() - interval '1 minute' from room";
        let (room, message): (Uuid, Uuid) = (room.parse().unwrap(), Uuid::now_v7());
        let database = self.stack.deployment.database().await.unwrap();
        let accepted = database.execute(ACCEPT, &[&room, &message, &content]).await;
        assert_eq!(accepted.unwrap(), 1);
        json!(message)
    }

    /// Waits until a message is settled.
    pub async fn settled(&self, room: &str, message: &Value) -> Value {
        let id = message.as_str().unwrap();
        let path = format!("/chatroom/{room}/message/{id}?wait=20");
        let get = async || self.call(Method::GET, &path, Value::Null, 200).await;
        until("the message is settled", async || {
            let message = get().await;
            message["status"] == "answered" || message["status"] == "failed"
        })
        .await;
        get().await
    }

    /// Sends a request, as the user once signed in, and expects a status.
    pub async fn call(&self, method: Method, path: &str, body: Value, expected: u16) -> Value {
        let Deployment { client, url, .. } = &self.stack.deployment;
        let mut request = client.request(method.clone(), format!("{url}{path}"));
        if let Some(token) = self.session["access_token"].as_str() {
            request = request.bearer_auth(token);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = self.stack.contract.send(request).await.unwrap();
        assert_eq!(answer.status, expected, "{method} {path}: {}", answer.body);
        answer.body
    }
}
