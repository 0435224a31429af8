//! A client of streams, as the contract describes one: it keeps the text that its position says, and comes again until
//! the message is at its end.

use std::time::Duration;

use local_suite::harness::{PATIENCE, User, contract::CONTRACT};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::stops::id;

/// How long a stream may stay silent. It has a heartbeat.
const SILENCE: Duration = Duration::from_secs(15);

/// The type of a response that a function made of its error.
const PROBLEM: &str = "application/problem+json";

/// An event with its id.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: String,
    pub data: Value,
}

/// An open stream.
pub struct Stream {
    response: Response,
    /// What came and is no whole event yet.
    rest: Vec<u8>,
    /// How many bytes are still to be read before the client leaves.
    pub limit: usize,
    pub heartbeats: usize,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With `[DONE]`.
    Done,
    /// In any other way.
    Early,
}

/// What a client knows of a message.
#[derive(Debug, Default, Clone)]
pub struct Client {
    /// The reply so far.
    pub text: String,
    /// The last id.
    pub position: String,
    /// The events of the current connection.
    pub events: Vec<Value>,
    /// How often the text began anew.
    pub restarts: usize,
}

/// Begins a post to the stream of a room.
pub fn post(user: &User<'_>, room: &str, content: &str, key: Option<&str>) -> RequestBuilder {
    let request = user.request(Method::POST, &format!("{room}/stream"));
    let request = request.json(&json!({ "content": content }));
    match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    }
}

/// Opens a stream, which must be one.
pub async fn open(request: RequestBuilder) -> Stream {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{response:?}");
    Stream::of(response)
}

impl Stream {
    pub fn of(response: Response) -> Self {
        let headers = response.headers();
        let expected = [
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
            ("x-vercel-ai-ui-message-stream", "v1"),
        ];
        for (name, value) in expected {
            assert_eq!(headers[name], value, "{name}");
        }
        Self { response, rest: Vec::new(), limit: usize::MAX, heartbeats: 0 }
    }

    /// Waits for the next event.
    pub async fn next(&mut self) -> Result<Event, Ended> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|bytes| bytes == b"\n\n") {
                let event: Vec<u8> = self.rest.drain(..end + 2).collect();
                let event = String::from_utf8(event).unwrap();
                if event == ":\n\n" {
                    self.heartbeats += 1;
                    continue;
                }
                // A comment that says which request failed by a defect.
                assert!(!event.starts_with(": internal"), "{event}");
                if event == "data: [DONE]\n\n" {
                    return Err(Ended::Done);
                }
                let (id, data) = event.trim_end().split_once('\n').unwrap();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                CONTRACT.check_event(&data);
                return Ok(Event { id: id.strip_prefix("id: ").unwrap().to_owned(), data });
            }
            let chunk = timeout(SILENCE, self.response.chunk()).await;
            match chunk.expect("the stream is silent") {
                Ok(Some(chunk)) => {
                    let length = chunk.len().min(self.limit);
                    self.limit -= length;
                    self.rest.extend_from_slice(&chunk[..length]);
                    if length < chunk.len() {
                        return Err(Ended::Early);
                    }
                }
                Ok(None) | Err(_) => return Err(Ended::Early),
            }
        }
    }

    /// The rest of the events, and how the stream ended.
    pub async fn rest(mut self) -> (Vec<Event>, Ended) {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                Ok(event) => events.push(event),
                Err(ended) => return (events, ended),
            }
        }
    }
}

/// The parts of an id: message, epoch and characters.
pub fn position(id: &str) -> (&str, &str, usize) {
    let parts: Vec<_> = id.split('.').collect();
    let [message, epoch, characters] = parts[..] else {
        panic!("{id} is no position");
    };
    (message, epoch, characters.parse().unwrap())
}

impl Client {
    /// Reads a stream to its end, or to where the client leaves it.
    pub async fn read(&mut self, stream: &mut Stream) -> Ended {
        self.events.clear();
        loop {
            match stream.next().await {
                Ok(event) => self.take(event),
                Err(ended) => return ended,
            }
        }
    }

    /// Takes an event in, as the contract says: another epoch is another text.
    pub fn take(&mut self, Event { id, data }: Event) {
        let (message, epoch, characters) = position(&id);
        if !self.position.is_empty() {
            let (known, known_epoch, _) = position(&self.position);
            assert_eq!(message, known, "a connection is about one message");
            if known_epoch != epoch {
                self.restarts += usize::from(!self.text.is_empty());
                self.text.clear();
            }
        }
        if data["type"] == "text-delta" {
            let delta = data["delta"].as_str().unwrap();
            let kept = characters - delta.chars().count();
            assert!(kept <= self.text.chars().count(), "a part is missing");
            self.text = self.text.chars().take(kept).collect();
            self.text.push_str(delta);
        }
        self.position = id;
        self.events.push(data);
    }

    /// The type of the last event.
    pub fn last(&self) -> &str {
        let last = self.events.last();
        last.and_then(|event| event["type"].as_str()).unwrap_or_default()
    }

    /// Whether the message is over for this client.
    pub fn is_over(&self) -> bool {
        ["finish", "abort", "error"].contains(&self.last())
    }

    /// A client that has nothing yet of a message whose id it knows.
    pub fn of(message: &str) -> Self {
        Self { position: format!("{}.0.0", id(message)), ..Self::default() }
    }

    /// The path of the message.
    pub fn message(&self, room: &str) -> String {
        format!("{room}/message/{}", position(&self.position).0)
    }

    /// Reads a stream until the reply has begun.
    pub async fn read_some(&mut self, stream: &mut Stream) {
        while self.text.is_empty() {
            self.take(stream.next().await.unwrap());
        }
    }

    /// Gets the stream of a room, from where the client is.
    pub async fn get(&self, user: &User<'_>, room: &str) -> reqwest::Result<Response> {
        let mut request = user.request(Method::GET, &format!("{room}/stream"));
        if !self.position.is_empty() {
            request = request.header("last-event-id", &self.position);
        }
        request.send().await
    }

    /// Comes again until the message is at its end.
    pub async fn follow(&mut self, user: &User<'_>, room: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.is_over() {
            assert!(Instant::now() < end, "it never ended: {self:?}");
            let response = self.get(user, room).await;
            self.hear(response, usize::MAX).await;
        }
    }

    /// Reads up to `limit` bytes of what a request for a stream has got, if that is one.
    pub async fn hear(&mut self, response: reqwest::Result<Response>, limit: usize) {
        let status = response.as_ref().map_or(0, |it| it.status().as_u16());
        match (status, response) {
            (200, Ok(response)) => {
                let mut stream = Stream::of(response);
                stream.limit = limit;
                self.read(&mut stream).await;
            }
            (500, Ok(response)) if response.headers().get("content-type").is_some_and(|it| it == PROBLEM) => {
                panic!("the function failed by a defect: {}", response.text().await.unwrap_or_default())
            }
            // The function died, and could say nothing, or those of three streams before, whose slots are still held.
            (0 | 429 | 500 | 502, _) => sleep(Duration::from_millis(200)).await,
            (status, response) => panic!("{status}: {response:?}"),
        }
    }
}
