//! Acts as a user who is signed in.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Api, Response, eventually, text};

/// The password of a user who sets one.
pub const PASSWORD: &str = "correct horse battery";

/// A user who is signed in.
pub struct User<'a> {
    /// The API to call.
    pub api: &'a Api,
    /// The user's id.
    pub id: String,
    /// The number that was proved.
    pub mobile: String,
    /// The access token.
    pub token: String,
    /// The session's refresh token.
    pub refresh_token: String,
}

impl<'a> User<'a> {
    /// Signs up with a mobile number and proves it with the code that it gets.
    pub async fn sign_up(api: &'a Api, mobile: &str) -> Self {
        let code = api.code(mobile).await;
        let session = api.verify(mobile, &code).await.expect(200);
        Self::of_session(api, mobile, &session)
    }

    /// Reads the session from a response to signing in.
    #[must_use]
    pub fn of_session(api: &'a Api, mobile: &str, session: &Value) -> Self {
        Self {
            api,
            id: session["user"]["id"].as_str().unwrap_or_default().to_owned(),
            mobile: mobile.to_owned(),
            token: text(&session["access_token"]).to_owned(),
            refresh_token: text(&session["refresh_token"]).to_owned(),
        }
    }

    /// Begins a request with the access token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.api.request(method, path).bearer_auth(&self.token)
    }

    /// Sends a request and holds its response to the contract.
    pub async fn send(&self, request: RequestBuilder) -> Response {
        self.api.send(request).await
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Response {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends JSON.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> Response {
        self.send(self.request(method, path).json(body)).await
    }

    /// Sends a request without a body, expects a status, and returns the body.
    pub async fn call(&self, method: Method, path: &str, status: u16) -> Value {
        self.send(self.request(method, path)).await.expect(status)
    }

    /// Gets a code that confirms what cannot be undone, as the fields of a request.
    pub async fn confirmation(&self) -> Value {
        let request = json!({ "mobile": self.mobile, "purpose": "confirm" });
        let sent = self.api.code_of("/auth/send-otp", &request).await;
        json!({ "challenge": sent.challenge, "otp": sent.code })
    }

    /// Sets [`PASSWORD`], unless the user has a password. It ends the user's other sessions.
    pub async fn set_password(&self) {
        let with_password = format!("users where id = '{}' and password_hash is not null", self.id);
        if self.api.count(&with_password).await == 0 {
            let mut first = self.confirmation().await;
            first["new_password"] = PASSWORD.into();
            self.json(Method::POST, "/auth/change-password", &first).await.expect(204);
        }
    }

    /// Deletes the account with its password, which is [`PASSWORD`], and expects a status.
    pub async fn leave(&self, status: u16) {
        self.set_password().await;
        let proof = json!({ "password": PASSWORD });
        self.json(Method::DELETE, "/user/me", &proof).await.expect(status);
    }

    /// Opens a chatroom and returns its path.
    pub async fn room(&self) -> String {
        self.room_named("Lisbon").await
    }

    /// Opens a chatroom with a title and returns its path.
    pub async fn room_named(&self, title: &str) -> String {
        let room = json!({ "title": title });
        let response = self.json(Method::POST, "/chatroom", &room).await;
        assert_eq!(response.status, 201, "{}", response.body);
        response.location()
    }

    /// Posts a message that may be refused.
    pub async fn try_post(&self, room: &str, content: &str) -> Response {
        let message = json!({ "content": content });
        self.json(Method::POST, &format!("{room}/message"), &message).await
    }

    /// Posts a message and returns its path.
    pub async fn post(&self, room: &str, content: &str) -> String {
        let response = self.try_post(room, content).await;
        assert_eq!(response.status, 202, "{}", response.body);
        response.location()
    }

    /// Waits until a message is answered or failed, and returns it.
    pub async fn settled(&self, message: &str) -> Value {
        let path = format!("{message}?wait=20");
        eventually(&format!("{message} is settled"), async || {
            let found = self.get(&path).await.expect(200);
            let is_settled = found["status"] == "answered" || found["status"] == "failed";
            is_settled.then_some(found)
        })
        .await
    }

    /// Waits until a message is answered, and returns the reply's text.
    pub async fn reply(&self, message: &str) -> String {
        let settled = self.settled(message).await;
        assert_eq!(settled["status"], "answered", "{settled}");
        text(&settled["reply"]["content"]).to_owned()
    }

    /// Returns how many messages count for today.
    pub async fn used(&self) -> i64 {
        let used = "select coalesce(sum(used), 0)::int8 from daily_usage where user_id";
        self.api.value(&format!("{used} = '{}'", self.id)).await
    }
}
