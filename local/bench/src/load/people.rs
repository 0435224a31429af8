//! Uses the API as a person with a client does.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::records::Records;
use local_suite::harness::{Api, text};

/// The time that a person reads and types before the next message, and that Gemini takes for it.
const THINKING_MS: RangeInclusive<u64> = 5_000..=35_000;
const GEMINI_MS: RangeInclusive<u64> = 1_000..=6_000;

/// The number of messages in a hundred before which a person looks at the list, opens another room, or reads the room.
const LISTS: u8 = 30;
const OPENS: u8 = 10;
const READS: u8 = 20;

/// A person.
pub struct Person {
    api: Api,
    records: Arc<Records>,
    number: usize,
    end: Instant,
    token: String,
    streams: bool,
}

impl Person {
    /// Somebody who leaves at a time.
    pub fn new(api: Api, records: Arc<Records>, number: usize, end: Instant, streams: bool) -> Self {
        Self { streams, api, records, number, end, token: String::new() }
    }

    /// Signs in and talks until it is time to leave.
    pub async fn live(mut self) {
        let Some(mut room) = self.arrive().await else {
            return; // it is among the errors
        };
        for turn in 0.. {
            let thinking = Duration::from_millis(fastrand::u64(THINKING_MS));
            if Instant::now() + thinking >= self.end {
                return;
            }
            sleep(thinking).await;
            if happens(LISTS) {
                self.call("GET /chatroom", Method::GET, "/chatroom", None).await;
            }
            if happens(OPENS) {
                room = self.open().await.unwrap_or(room);
            }
            self.converse(&room, turn).await;
            if happens(READS) {
                self.call("GET /chatroom/{id}", Method::GET, &room, None).await;
            }
        }
    }

    /// Signs up with a code, and opens a room.
    async fn arrive(&mut self) -> Option<String> {
        let mobile = format!("+1888{:07}", self.number);
        let number = json!({ "mobile": mobile, "name": "Ada" });
        let name = "POST /auth/signup";
        let accepted = self.call(name, Method::POST, "/auth/signup", Some(&number));
        let accepted = accepted.await?;
        let code = json!({
            "mobile": mobile, "challenge": accepted["challenge"], "otp": accepted["otp"],
        });
        let name = "POST /auth/verify-otp";
        let session = self.call(name, Method::POST, "/auth/verify-otp", Some(&code));
        text(&session.await?["access_token"]).clone_into(&mut self.token);
        self.open().await
    }

    async fn open(&self) -> Option<String> {
        let title = json!({ "title": "Lisbon" });
        let room = self.call("POST /chatroom", Method::POST, "/chatroom", Some(&title));
        Some(format!("/chatroom/{}", text(&room.await?["id"])))
    }

    /// Posts a message and waits until it has its reply.
    async fn converse(&self, room: &str, turn: usize) {
        let prompt = format!("Question {turn} of {}?", self.number);
        let gemini_ms = fastrand::u64(GEMINI_MS);
        let script = json!([{ "match": prompt, "delay_ms": gemini_ms }]);
        self.api.script(&script).await;
        let posted = Instant::now();
        let gemini = Duration::from_millis(gemini_ms);
        let content = json!({ "content": prompt });
        if self.streams {
            return self.read(room, &content, gemini).await;
        }
        let path = format!("{room}/message");
        let name = "POST /chatroom/{id}/message";
        let Some(message) = self.call(name, Method::POST, &path, Some(&content)).await else {
            return;
        };
        let path = format!("{path}/{}?wait=20", text(&message["id"]));
        let name = "GET …/message/{message_id}?wait";
        while let Some(message) = self.call(name, Method::GET, &path, None).await {
            if message["status"] == "answered" {
                let delay = posted.elapsed().saturating_sub(gemini);
                self.records.reply(self.number, delay);
            }
            if message["status"] != "queued" && message["status"] != "answering" {
                return;
            }
        }
    }

    /// Posts a message and reads its reply, of which the first word counts. A stream that breaks off is an error here:
    /// nobody dies.
    async fn read(&self, room: &str, content: &Value, gemini: Duration) {
        let posted = Instant::now();
        let request = self.api.request(Method::POST, &format!("{room}/stream"));
        let request = request.bearer_auth(&self.token).json(content);
        let (mut status, mut came) = (None, Vec::new());
        if let Ok(mut response) = request.send().await {
            self.records.opened();
            let mut has_begun = false;
            while let Ok(Some(chunk)) = response.chunk().await {
                came.extend_from_slice(&chunk);
                if !has_begun && String::from_utf8_lossy(&came).contains("\"text-delta\"") {
                    has_begun = true;
                    let delay = posted.elapsed().saturating_sub(gemini);
                    self.records.reply(self.number, delay);
                }
            }
            let is_whole = !response.status().is_success() || String::from_utf8_lossy(&came).contains("[DONE]");
            status = is_whole.then_some(response.status().as_u16());
            self.records.closed();
        }
        let endpoint = "POST /chatroom/{id}/stream";
        self.records.response(endpoint, posted.elapsed(), status);
    }

    /// Sends a request and records how it went. `None` for what is no success, after a pause.
    async fn call(&self, endpoint: &'static str, method: Method, path: &str, body: Option<&Value>) -> Option<Value> {
        let mut request: RequestBuilder = self.api.request(method, path);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let asked = Instant::now();
        let response = async {
            let response = request.send().await.ok()?;
            let status = response.status();
            Some((status, response.bytes().await.ok()?))
        };
        let response = response.await;
        let status = response.as_ref().map(|(status, _)| status.as_u16());
        self.records.response(endpoint, asked.elapsed(), status);
        match response {
            Some((status, body)) if status.is_success() => serde_json::from_slice(&body).ok(),
            _ => {
                sleep(Duration::from_secs(1)).await;
                None
            }
        }
    }
}

fn happens(percent: u8) -> bool {
    fastrand::u8(0..100) < percent
}
